"""The retry rule, as a table."""

from dataclasses import replace

import pytest
from common.contracts.fetches import ErrorType, FetchStatus, Outcome
from common.ids import new_fetch_id
from ledger_words import at, attempted, failed, fetched
from store.fetches.lifecycle import Finish, Pending, Retry, Stale, abandon, next_state

PENDING = Pending(id=new_fetch_id(), is_running=True, dispatch_seq=2, attempts=0, retries_max=2, backoff_seconds=1.0)


def _next(pending: Pending, outcome: Outcome, *, dispatch_seq: int = 2, jitter: float = 1.0) -> Finish | Retry | Stale:
    return next_state(pending, attempted(pending.id, outcome, dispatch_seq=dispatch_seq), jitter=lambda: jitter)


def test_a_response_finishes_the_fetch() -> None:
    transition = _next(PENDING, fetched(404))
    assert isinstance(transition, Finish) and transition.status is FetchStatus.SUCCEEDED


def test_a_passing_failure_is_retried_while_attempts_remain() -> None:
    assert isinstance(_next(replace(PENDING, attempts=1), failed()), Retry)


def test_the_last_failure_is_final_and_keeps_its_reason() -> None:
    transition = _next(replace(PENDING, attempts=2), failed(error=ErrorType.DNS))
    assert isinstance(transition, Finish) and transition.status is FetchStatus.FAILED
    assert transition.error is not None and transition.error.type is ErrorType.DNS


def test_a_500_that_is_not_retried_any_more_is_a_success() -> None:
    transition = _next(replace(PENDING, attempts=2), fetched(500, is_retryable=True))
    assert isinstance(transition, Finish) and transition.status is FetchStatus.SUCCEEDED


def test_a_failure_that_cannot_pass_is_never_retried() -> None:
    assert isinstance(_next(PENDING, failed(error=ErrorType.REFUSED_ADDRESS, is_retryable=False)), Finish)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 1.0), (1, 2.0)])
def test_backoff_doubles(attempts: int, seconds: float) -> None:
    assert _next(replace(PENDING, attempts=attempts), failed()) == Retry(id=PENDING.id, delay_seconds=seconds)


def test_jitter_is_full() -> None:
    assert _next(PENDING, failed(), jitter=0.25) == Retry(id=PENDING.id, delay_seconds=0.25)


def test_backoff_has_a_ceiling() -> None:
    transition = _next(replace(PENDING, attempts=9, retries_max=10, backoff_seconds=3600), failed())
    assert transition == Retry(id=PENDING.id, delay_seconds=3600)


def test_the_origin_can_ask_for_more_patience_but_not_for_ever() -> None:
    assert _next(PENDING, failed(not_before=at(61))) == Retry(id=PENDING.id, delay_seconds=60)
    assert _next(PENDING, failed(not_before=at(10**7))) == Retry(id=PENDING.id, delay_seconds=24 * 3600)
    assert _next(PENDING, failed(not_before=at(-100)), jitter=0) == Retry(id=PENDING.id, delay_seconds=0)


@pytest.mark.parametrize("pending", [replace(PENDING, dispatch_seq=3), replace(PENDING, is_running=False)])
def test_a_late_failure_changes_nothing_and_a_late_success_counts(pending: Pending) -> None:
    assert isinstance(_next(pending, failed()), Stale)
    assert isinstance(_next(pending, failed(is_retryable=False)), Stale)
    assert isinstance(_next(pending, fetched(503, is_retryable=True)), Stale)
    assert isinstance(_next(pending, fetched(200)), Finish)


def test_abandoning_is_a_visible_failure() -> None:
    finish = abandon(PENDING.id, dispatches=5)
    assert finish.status is FetchStatus.FAILED
    assert finish.error is not None and finish.error.type is ErrorType.ABANDONED
