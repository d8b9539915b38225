"""Batches: fetches submitted in one request, listed and counted together."""
