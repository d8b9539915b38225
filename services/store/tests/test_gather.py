"""How long a loop rests after a pass: nothing waits for company when little comes, sets grow when much does."""

import pytest

from store.gather import FIRST_SECONDS, LIMIT_SECONDS, gather_seconds


def test_few_are_not_made_to_wait_and_many_are_never_for_long() -> None:
    assert gather_seconds(1, limit=100) == gather_seconds(4, limit=100) == FIRST_SECONDS
    assert gather_seconds(50, limit=100) == pytest.approx(0.05)
    assert gather_seconds(900, limit=1000) == LIMIT_SECONDS


def test_who_found_all_that_one_may_goes_on_at_once() -> None:
    assert gather_seconds(100, limit=100) == gather_seconds(101, limit=100) == 0


@pytest.mark.parametrize("per_second", [100, 500, 900, 2000])
def test_sets_settle_at_a_size_for_every_pace(per_second: int) -> None:
    """A pass takes 5 ms and 0.2 ms an entry; what comes meanwhile, and during the rest, is the next set."""
    found = 1
    for _ in range(200):
        cycle = 0.005 + 0.0002 * found + gather_seconds(found, limit=1000)
        found = max(1, round(per_second * cycle))
    assert found <= per_second * (LIMIT_SECONDS + 0.005) / (1 - 0.0002 * per_second) + 1
