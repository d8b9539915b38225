"""Where fetches may go. The fetcher dials by it, and the gateway plans by it: one set of rules, so that they cannot differ."""
