"""The status page at the root: what it shows and how it is drawn."""
