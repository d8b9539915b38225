"""The OpenAPI document of the public API: what routes say of themselves, and what holds for all of them."""
