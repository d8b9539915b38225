"""Batches on the wire: lines, limits, what is told of them."""
