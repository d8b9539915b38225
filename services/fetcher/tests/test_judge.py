"""The judge: every kind of end, and what it means for another attempt."""

from datetime import UTC, datetime, timedelta

import pytest
from common.contracts.fetches import ErrorType, Evidence, FetchError, OutcomeKind, ResponseHead
from hypothesis import given
from hypothesis import strategies as st

from fetcher.judge import judge_failure, judge_response, judge_revalidation, read_retry_after

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def _head(status: int, **headers: str) -> ResponseHead:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return ResponseHead(status=status, headers=named, final_url="http://example.com/")


@pytest.mark.parametrize(
    ("error", "kind", "is_retryable"),
    [
        (ErrorType.REFUSED_ADDRESS, OutcomeKind.REFUSED, False),
        (ErrorType.REFUSED_SCHEME, OutcomeKind.REFUSED, False),
        (ErrorType.REFUSED_PORT, OutcomeKind.REFUSED, False),
        (ErrorType.REFUSED_ROBOTS, OutcomeKind.REFUSED, False),
        (ErrorType.INVALID_URL, OutcomeKind.FAILED, False),
        (ErrorType.DNS, OutcomeKind.FAILED, True),
        (ErrorType.CONNECT, OutcomeKind.FAILED, True),
        (ErrorType.TLS, OutcomeKind.FAILED, False),
        (ErrorType.TIMEOUT, OutcomeKind.TIMED_OUT, True),
        (ErrorType.PROTOCOL, OutcomeKind.FAILED, True),
        (ErrorType.TOO_LARGE, OutcomeKind.FAILED, False),
        (ErrorType.DECODE, OutcomeKind.FAILED, False),
        (ErrorType.TOO_MANY_REDIRECTS, OutcomeKind.FAILED, False),
        (ErrorType.INTERNAL, OutcomeKind.FAILED, True),
    ],
)
def test_failure(error: ErrorType, kind: OutcomeKind, is_retryable: bool) -> None:
    outcome = judge_failure(FetchError(type=error, detail="x"), evidence=Evidence())
    assert (outcome.kind, outcome.is_retryable) == (kind, is_retryable)
    assert outcome.response is None and outcome.not_before is None


@pytest.mark.parametrize("error", ErrorType)
def test_failure_of_what_is_not_idempotent_is_never_retried(error: ErrorType) -> None:
    failed = FetchError(type=error, detail="x")
    assert not judge_failure(failed, is_idempotent=False).is_retryable
    waiting = judge_failure(failed, is_idempotent=False, passes_at=NOW)
    assert (waiting.is_retryable, waiting.not_before) == (False, None)


def test_cause_that_passes_at_a_known_time_is_waited_for() -> None:
    outcome = judge_failure(FetchError(type=ErrorType.REFUSED_ROBOTS, detail="x"), passes_at=NOW + DAY)
    assert (outcome.kind, outcome.is_retryable, outcome.not_before) == (OutcomeKind.REFUSED, True, NOW + DAY)


@pytest.mark.parametrize("status", [408, 429, 503])
def test_response_to_what_is_not_idempotent_is_final_and_still_says_how_long_to_leave_the_host_alone(status: int) -> None:
    outcome = judge_response(_head(status, retry_after="5"), body=None, evidence=Evidence(), now=NOW, is_idempotent=False)
    assert (outcome.kind, outcome.is_retryable) == (OutcomeKind.FETCHED, False)
    assert outcome.not_before == NOW + timedelta(seconds=5)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_retry_after_on_a_redirect_is_noted_and_only_a_postponed_one_is_retryable(status: int) -> None:
    head = _head(status, retry_after="5")
    kept = judge_response(head, body=None, evidence=Evidence(), now=NOW)
    assert (kept.is_retryable, kept.not_before) == (False, NOW + timedelta(seconds=5))  # RFC 9110 section 10.2.3
    assert judge_response(head, body=None, evidence=Evidence(), now=NOW, is_postponed=True).is_retryable
    once = judge_response(head, body=None, evidence=Evidence(), now=NOW, is_idempotent=False, is_postponed=True)
    assert not once.is_retryable


def test_revalidation_keeps_the_304_and_no_body() -> None:
    outcome = judge_revalidation(_head(304), evidence=Evidence())
    assert (outcome.kind, outcome.is_retryable, outcome.body) == (OutcomeKind.NOT_MODIFIED, False, None)
    assert outcome.response is not None and outcome.response.status == 304


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_status_that_may_pass_is_retryable_and_kept(status: int) -> None:
    outcome = judge_response(_head(status), body=None, evidence=Evidence(), now=NOW)
    assert (outcome.kind, outcome.is_retryable) == (OutcomeKind.FETCHED, True)
    assert outcome.response is not None and outcome.not_before is None


@pytest.mark.parametrize("status", [200, 204, 206, 304, 400, 401, 403, 404, 410, 418, 501, 505, 511, 599])
def test_other_status_is_final(status: int) -> None:
    outcome = judge_response(_head(status, retry_after="5"), body=None, evidence=Evidence(), now=NOW)
    assert (outcome.is_retryable, outcome.not_before) == (False, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", NOW + timedelta(seconds=120)),  # RFC 9110 section 10.2.3, delay-seconds
        ("0", NOW),
        (" 7 ", NOW + timedelta(seconds=7)),
        ("99999999999", NOW + DAY),
        ("9" * 5000, NOW + DAY),
        ("Sun, 22 Nov 2026 12:10:00 GMT", NOW + timedelta(minutes=10)),  # IMF-fixdate
        ("Sunday, 22-Nov-26 12:10:00 GMT", NOW + timedelta(minutes=10)),  # RFC 850
        ("Sun Nov 22 12:10:00 2026", NOW + timedelta(minutes=10)),  # asctime
        ("Sun, 22 Nov 2026 12:10:00 -0000", NOW + timedelta(minutes=10)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", NOW + DAY),
        ("Sun, 06 Nov 1994 08:49:37 GMT", NOW),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("١٢", None),
    ],
)
def test_retry_after(value: str, expected: datetime | None) -> None:
    assert judge_response(_head(503, Retry_After=value), body=None, evidence=Evidence(), now=NOW).not_before == expected


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,6} \w{3} \d{1,6} \d{1,3}:\d{1,3}:\d{1,3} [-+]?\w{1,9}"))
def test_no_retry_after_breaks_the_judge(value: str) -> None:
    until = read_retry_after([("retry-after", value)], now=NOW)
    assert until is None or NOW <= until <= NOW + DAY
