"""Which headers go out, and how those that come back are read."""

from collections.abc import Iterable, Mapping

from common.contracts.fetches import ErrorType
from common.contracts.request_headers import is_denied

from fetcher.errors import ExchangeFailed

HEADER_BLOCK_LIMIT_BYTES = 64 * 1024


def outgoing_headers(asked: Mapping[str, str], *, user_agent: str) -> dict[str, str]:
    """The headers to send: what the caller asked for without those that are not a caller's to set, and ours."""
    kept = {name: value for name, value in asked.items() if not is_denied(name)}
    ours = {"Accept-Encoding": "gzip"}
    if not any(name.lower() == "user-agent" for name in kept):
        ours["User-Agent"] = user_agent
    return ours | kept


def read_headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Response headers as text, in order. Bytes that are no UTF-8 are read as ISO-8859-1 (RFC 9110 section 5.5).

    Raises ExchangeFailed when the block is larger than HEADER_BLOCK_LIMIT_BYTES.
    """
    headers = tuple((_text(name), _text(value)) for name, value in raw)
    if sum(len(name) + len(value) for name, value in headers) > HEADER_BLOCK_LIMIT_BYTES:
        raise ExchangeFailed(ErrorType.PROTOCOL, "The response headers are too large.")
    return headers


def first_value(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header, or None; `name` is lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def media_type(content_type: str | None) -> str | None:
    """The declared media type without its parameters, in lower case (RFC 9110 section 8.3.1); None when undeclared."""
    return (content_type or "").partition(";")[0].strip().lower() or None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")
