"""robots.txt files, kept for all fetchers."""
