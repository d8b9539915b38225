"""Whose things are: tenants own keys, fetches and batches, and see nothing of each other."""

from typing import Annotated, Final

from pydantic import StringConstraints

DEFAULT_TENANT: Final = "default"
"""The tenant of the deployment's first key, and of all that was accepted before there were tenants."""

Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{12}$")]
