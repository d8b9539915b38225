"""Every refusal: its type, its document, its answer."""
