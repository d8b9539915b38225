"""Rows as the arrays that a statement puts side by side with `unnest`."""

from collections.abc import Sequence
from operator import attrgetter

IN_ORDER = attrgetter("int")
"""Sorts ids as Postgres does, without a call of Python's for each comparison."""


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object] | None]:
    """One array for each place of the rows, of which there is at least one.

    None for an array of nulls: `unnest` pads what is shorter (PostgreSQL, table functions), and to write and read nulls costs as
    much as values. So at least one place must hold a value, as an id does.
    """
    return [None if column.count(None) == len(column) else list(column) for column in zip(*rows, strict=True)]
