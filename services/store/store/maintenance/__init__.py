"""Background loops that keep the house in order, one a file."""
