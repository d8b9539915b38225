"""Turn what came of an exchange into an outcome: is there a response to keep, may another attempt help, and not before when.

Pure. The one place that knows which failures may pass; how often to try again is not decided here.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from common.contracts.fetches import BodyReference, ErrorType, Evidence, FetchError, Outcome, OutcomeKind, ResponseHead

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRYABLE_ERRORS = frozenset(
    {ErrorType.DNS, ErrorType.CONNECT, ErrorType.TIMEOUT, ErrorType.PROTOCOL, ErrorType.INTERNAL}
)
"""TLS is not among them: a certificate that is wrong now is wrong in a minute."""
REFUSALS = frozenset(
    {ErrorType.REFUSED_ADDRESS, ErrorType.REFUSED_SCHEME, ErrorType.REFUSED_PORT, ErrorType.REFUSED_ROBOTS}
)
RETRY_AFTER_LIMIT_SECONDS = 24 * 3600
NOT_MODIFIED = 304


def judge_response(
    head: ResponseHead,
    *,
    body: BodyReference | None,
    evidence: Evidence,
    now: datetime,
    is_idempotent: bool = True,
    is_postponed: bool = False,
) -> Outcome:
    """A response is always kept, whatever its status; some statuses say that asking again later may help.

    So does a redirect that is to be followed later (`is_postponed`). What is not idempotent is never asked again (RFC 9110
    section 9.2.2), whatever came of it; how long its host is to be left alone is noted all the same.
    """
    return Outcome(
        kind=OutcomeKind.FETCHED,
        is_retryable=is_idempotent and (is_postponed or head.status in RETRYABLE_STATUSES),
        not_before=read_retry_after(head.headers, now=now) if _may_ask_to_wait(head.status) else None,
        response=head,
        body=body,
        evidence=evidence,
    )


def judge_revalidation(head: ResponseHead, *, evidence: Evidence) -> Outcome:
    """The origin says that what we asked it to compare with is still good; there is no content to keep but that."""
    return Outcome(kind=OutcomeKind.NOT_MODIFIED, response=head, evidence=evidence)


def judge_failure(
    error: FetchError, *, evidence: Evidence = Evidence(), passes_at: datetime | None = None, is_idempotent: bool = True
) -> Outcome:
    """There is no response to keep, and this is why. A cause that passes at a known time is worth waiting for, whatever it is."""
    is_retryable = is_idempotent and (passes_at is not None or error.type in RETRYABLE_ERRORS)
    return Outcome(
        kind=_kind_of(error.type),
        is_retryable=is_retryable,
        not_before=passes_at if is_retryable else None,
        error=error,
        evidence=evidence,
    )


def read_retry_after(headers: Iterable[tuple[str, str]], *, now: datetime) -> datetime | None:
    """When `Retry-After` (RFC 9110 section 10.2.3) allows the next attempt, or None without a readable one.

    Delay-seconds or any of the three HTTP date forms; what is past is now, what is beyond 24 hours is 24 hours.
    """
    value = next((value.strip() for name, value in headers if name.lower() == "retry-after"), "")
    limit = now + timedelta(seconds=RETRY_AFTER_LIMIT_SECONDS)
    if value.isascii() and value.isdigit():
        return limit if len(value) > 9 else min(now + timedelta(seconds=int(value)), limit)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)  # "-0000" and asctime dates come without a zone
    return min(max(aware, now), limit)


def _may_ask_to_wait(status: int) -> bool:
    """Whether Retry-After has a meaning with this status: it tells when to ask again, or when to follow a redirect."""
    return status in RETRYABLE_STATUSES or (300 <= status < 400 and status != NOT_MODIFIED)


def _kind_of(error: ErrorType) -> OutcomeKind:
    if error in REFUSALS:
        return OutcomeKind.REFUSED
    return OutcomeKind.TIMED_OUT if error is ErrorType.TIMEOUT else OutcomeKind.FAILED
