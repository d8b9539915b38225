"""The wire between services: Redis streams with consumer groups, and the names of every shared key."""
