"""Plain SQL migrations, applied in the order of their numbers."""
