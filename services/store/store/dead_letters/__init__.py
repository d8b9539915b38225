"""Messages that could not be applied: read by operators, and put back into their streams."""
