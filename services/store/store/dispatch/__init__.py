"""Claim what is due, send it to the fetchers, and know how much they can take."""
