"""Which headers go out, and how those that come back are read."""

from collections.abc import Iterable, Mapping, Sequence

from common.contracts.fetches import Budget, ErrorType
from common.contracts.request_headers import is_denied

from fetcher.egress.budgets import Budgets
from fetcher.errors import ExchangeFailed

ACCEPTED_CODINGS = "gzip, deflate, br, zstd"
"""What `fetcher.codings` undoes, and nothing else."""
LINE_OVERHEAD_BYTES = 4
"""The colon, the blank and the line end that a header line has on the wire beside its name and value."""

_OWN_TRANSFER_CODINGS = frozenset(("chunked", "identity", ""))


def outgoing_headers(asked: Mapping[str, str], *, user_agent: str, contact: str | None) -> dict[str, str]:
    """The headers to send: what the caller asked for without those that are not a caller's to set, and ours.

    A caller may take the place of our `User-Agent` and `From`. A part of a coded representation could not be decoded, so
    with the caller's `Range` no coding is asked for.
    """
    kept = {name: value for name, value in asked.items() if not is_denied(name)}
    names = {name.lower() for name in kept}
    ours = {"Accept-Encoding": "identity" if "range" in names else ACCEPTED_CODINGS}
    if "accept" not in names:
        ours["Accept"] = "*/*"
    if "user-agent" not in names:
        ours["User-Agent"] = user_agent
    if contact and "from" not in names:
        ours["From"] = contact
    return ours | kept


def read_headers(raw: Sequence[tuple[bytes, bytes]], *, budgets: Budgets) -> tuple[tuple[str, str], ...]:
    """Response headers as text, in order. Bytes that are no UTF-8 are read as ISO-8859-1 (RFC 9110 section 5.5).

    Raises ExchangeFailed `too_large` when there are too many, or one is too long, or all together are.
    """
    try:
        headers = tuple([(name.decode(), value.decode()) for name, value in raw])
    except UnicodeDecodeError:
        headers = tuple([(_text(name), _text(value)) for name, value in raw])
    sizes = [len(name) + len(value) + LINE_OVERHEAD_BYTES for name, value in headers]
    if (
        len(sizes) > budgets.header_lines
        or max(sizes, default=0) > budgets.header_line_bytes
        or sum(sizes) > budgets.header_bytes
    ):
        raise headers_too_large()
    return headers


def headers_too_large() -> ExchangeFailed:
    """A response head, or what is sent in its place, is over its budget."""
    return ExchangeFailed(ErrorType.TOO_LARGE, "The response headers are too large.", exceeded=Budget.HEADER_BYTES)


def first_value(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first value of a header, or None; `name` is lower case."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def media_type(content_type: str | None) -> str | None:
    """The declared media type without its parameters, in lower case (RFC 9110 section 8.3.1); None when undeclared."""
    return (content_type or "").partition(";")[0].strip().lower() or None


def content_coding(headers: Iterable[tuple[str, str]]) -> str:
    """The declared content codings in lower case as one list (RFC 9110 section 8.4), empty when there are none."""
    return ", ".join([value.strip().lower() for name, value in headers if name.lower() == "content-encoding"])


def foreign_transfer_codings(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The transfer codings that are neither chunked nor none: without a TE of ours there may be none (RFC 9112 section 7.4)."""
    declared = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
    return {coding.strip() for value in declared for coding in value.split(",")} - _OWN_TRANSFER_CODINGS if declared else set()


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("iso-8859-1")
