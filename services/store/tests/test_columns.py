"""Rows as arrays for `unnest`: an array of nulls is left out, and Postgres puts the nulls back."""

from store.columns import columns
from store.database import Pool, fetch_rows

ROWS = [(1, "a", None, None), (2, None, None, 0.5), (3, "c", None, None)]


def test_only_an_array_of_nulls_is_left_out() -> None:
    assert columns(ROWS) == [[1, 2, 3], ["a", None, "c"], None, [None, 0.5, None]]


async def test_postgres_puts_the_rows_together_again(pool: Pool) -> None:
    statement = "SELECT * FROM unnest($1::integer[], $2::text[], $3::uuid[], $4::float8[]) AS given (a, b, c, d)"
    assert [tuple(row) for row in await fetch_rows(pool, statement, *columns(ROWS))] == ROWS
