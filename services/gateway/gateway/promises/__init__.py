"""The durable promise behind every 202."""
