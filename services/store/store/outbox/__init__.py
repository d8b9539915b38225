"""Events that leave after commit, at least once."""
