"""The feed of finished fetches."""
