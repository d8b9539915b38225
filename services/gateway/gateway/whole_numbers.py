"""Whole numbers as JSON has them: 3.0 is the integer 3 (JSON Schema, Core 2020-12, section 6.3), and `true` and "3" are none."""


def read_whole(given: object) -> object:
    """For strict integers: a number without a fraction as an integer, anything else as it is."""
    return int(given) if isinstance(given, float) and given.is_integer() else given
