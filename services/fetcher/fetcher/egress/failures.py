"""What went wrong on the wire, in the caller's words: one table from foreign exceptions to error types.

Details are constant sentences: no internal address and no text of an exception ever reaches a caller.
"""

import errno
import ssl

import aiohttp
from common.contracts.fetches import Budget, ErrorType
from common.egress.addresses import AddressVerdict
from common.egress.targets import judge_refusal
from common.urls import UrlRefusal

from fetcher.errors import ExchangeFailed

OUR_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""This machine ran out of something; the origin is not to blame, so these are raised as our own fault."""

_TABLE: tuple[tuple[type[Exception], ErrorType, str], ...] = (
    (aiohttp.InvalidURL, ErrorType.INVALID_URL, "The URL cannot be requested."),
    (aiohttp.ClientConnectorCertificateError, ErrorType.TLS, "The host's certificate is not valid for it."),
    (aiohttp.ClientSSLError, ErrorType.TLS, "The TLS handshake with the host failed."),
    (ssl.SSLError, ErrorType.TLS, "The TLS connection to the host failed."),
    (aiohttp.ClientConnectorDNSError, ErrorType.DNS, "The host name has no address."),
    (aiohttp.ConnectionTimeoutError, ErrorType.CONNECT, "The host did not accept a connection in time."),
    (aiohttp.ServerTimeoutError, ErrorType.TIMEOUT, "The host did not answer in time."),
    (TimeoutError, ErrorType.TIMEOUT, "The host did not answer in time."),
    (aiohttp.ClientConnectorError, ErrorType.CONNECT, "The host did not accept a connection."),
    (aiohttp.ServerDisconnectedError, ErrorType.PROTOCOL, "The host closed the connection before it answered."),
    (aiohttp.ClientPayloadError, ErrorType.PROTOCOL, "The response body is malformed or ended early."),
    (aiohttp.ClientResponseError, ErrorType.PROTOCOL, "The response is not well-formed HTTP."),
    (aiohttp.ClientOSError, ErrorType.PROTOCOL, "The connection broke."),
    (aiohttp.ClientError, ErrorType.PROTOCOL, "The host did not answer as HTTP asks."),
    (aiohttp.http_exceptions.HttpProcessingError, ErrorType.PROTOCOL, "The response is not well-formed HTTP."),
    (OSError, ErrorType.PROTOCOL, "The connection broke."),
)


def translate(error: Exception) -> ExchangeFailed | None:
    """The failure that a foreign exception means, or None when it is our own fault and must be raised as it is."""
    if isinstance(error, ExchangeFailed):
        return error
    if isinstance(error, OSError) and error.errno in OUR_ERRNOS:
        return None
    exceeded = Budget.CONNECT if isinstance(error, aiohttp.ConnectionTimeoutError) else None
    return next(
        (ExchangeFailed(kind, detail, exceeded=exceeded) for known, kind, detail in _TABLE if isinstance(error, known)), None
    )


def refuse(verdict: AddressVerdict) -> ExchangeFailed:
    """The failure that a denying verdict means; a caller learns that we declined, not what the address is."""
    if verdict is AddressVerdict.DENY_PORT:
        return ExchangeFailed(ErrorType.REFUSED_PORT, "This port is not open for fetching.")
    return ExchangeFailed(ErrorType.REFUSED_ADDRESS, "The host is not on the public internet.")


def refuse_url(refusal: UrlRefusal) -> tuple[AddressVerdict, ExchangeFailed]:
    """The verdict and the failure that an unreadable URL means, of the request or of a redirect."""
    verdict = judge_refusal(refusal)
    kind = ErrorType.REFUSED_SCHEME if verdict is AddressVerdict.DENY_SCHEME else ErrorType.INVALID_URL
    return verdict, ExchangeFailed(kind, refusal.detail)
