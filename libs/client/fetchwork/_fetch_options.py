"""How a URL is to be fetched, as keyword arguments, and the JSON that says so (the members of `POST /v1/fetches`)."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict


class FetchOptions(TypedDict, total=False):
    """All that may be said about a fetch besides its URL. None says nothing.

    A body of type str is sent as UTF-8. A stored response of at most `max_age_seconds` may answer. `robots` is "obey" or
    "ignore". `priority` is 0 to 9, and 9 goes first. `retries` has `max` and `backoff_seconds`. Times must have an offset.
    `labels` are what lists can be asked for, `attrs` come back with the fetch as they are.
    """

    method: str | None
    headers: Mapping[str, str] | None
    body: str | bytes | None
    timeout_seconds: float | None
    max_bytes: int | None
    max_age_seconds: float | None
    robots: str | None
    delay_seconds: float | None
    not_before: datetime | None
    expires_at: datetime | None
    priority: int | None
    retries: Mapping[str, float] | None
    labels: Sequence[str] | None
    attrs: Mapping[str, Any] | None


def fetch_document(url: str, options: FetchOptions) -> dict[str, Any]:
    """The JSON object of one fetch. Raises ValueError when a time has no offset: nobody knows when it is."""
    return {"url": url, **{name: _member(value) for name, value in options.items() if value is not None}}


def _member(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode()}
    return time_text(value) if isinstance(value, datetime) else value


def time_text(time: datetime) -> str:
    """A time as RFC 3339 has it. Raises ValueError when it has no offset."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no offset; write it as datetime(…, tzinfo=UTC)")
    return time.isoformat()
