"""API keys: made, changed, rotated and revoked by operators, followed by gateways. Knows digests and never a key itself."""
