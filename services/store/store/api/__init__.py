"""The internal HTTP API: reads for the gateway, content uploads from the fetcher."""
