"""Content-addressed bodies."""
