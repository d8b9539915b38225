"""Fetchwork beside the designs that people would use instead, in one run, over one origin."""
