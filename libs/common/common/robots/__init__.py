"""What a robots.txt lets us do (RFC 9309). The fetcher obeys it, and the gateway plans by it."""
