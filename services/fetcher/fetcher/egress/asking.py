"""One request and the head of its response, over a connection whose other end was judged before anything is written to it.

aiohttp gives the connections, the parser and the stream of the body. Its session stays out: what it adds (cookies, redirects,
proxies and credentials from the environment, retries, decompression) is what the guard must not have
(`docs/decisions/0049-exchanges-without-a-session.md`).
"""

import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_writer import _serialize_headers
from yarl import URL

from fetcher.egress.budgets import Budgets
from fetcher.egress.dial import GuardedConnector, GuardedRequest
from fetcher.egress.evidence import CURRENT_HOP, HopRecord

BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Without a body they say nothing of its length (RFC 9110 section 8.6)."""
SWITCHING_PROTOCOLS = 101
READ_BUFFER_BYTES = 64 * 1024

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, ceil_threshold=math.inf)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose head is there. Its body, as sent, is still to come, through `content`."""

    status: int
    raw_headers: tuple[tuple[bytes, bytes], ...]
    content_length: int | None
    content: aiohttp.StreamReader
    _connection: Connection

    def release(self) -> None:
        """Keep the connection when the response was read to its end and says nothing against it; close it otherwise."""
        self._connection.release()


async def ask(
    connector: GuardedConnector,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    hop: HopRecord,
    budgets: Budgets,
) -> Answer:
    """Send the request and wait for the head of the final response; interim ones (RFC 9110 section 15.2) are passed over.

    Raises what aiohttp raises, ServerDisconnectedError when a kept connection ended meanwhile, ValueError for a control character
    in a header, and ExchangeFailed for what the guard refuses or a budget ends.
    """
    head = _head(method, url, headers, body, closes=connector.force_close)
    connection = await _connect(connector, method, url, hop=hop)
    try:
        hop.connected_at = perf_counter()
        transport, protocol = connector.judge_connection(connection, hop=hop)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        hop.tls_version = tls.version() if tls else None
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            # Each part of a head is bounded by the whole of it (MeteredProtocol); read_headers then asks for the finer limits.
            max_line_size=2 * budgets.header_bytes,
            max_field_size=2 * budgets.header_bytes,
            max_headers=budgets.header_bytes,
        )
        if transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        transport.write(head + body if body else head)
        message, content = await protocol.read()
        while message.code < 200 and message.code != SWITCHING_PROTOCOLS:
            message, content = await protocol.read()
        length = message.headers.get("Content-Length")
        return Answer(message.code, message.raw_headers, int(length) if length else None, content, connection)
    except BaseException:
        connection.close()
        raise


async def _connect(connector: GuardedConnector, method: str, url: URL, *, hop: HopRecord) -> Connection:
    token = CURRENT_HOP.set(hop)
    try:
        return await connector.connect(GuardedRequest(method, url), traces=[], timeout=_NO_TIMEOUT)
    except TimeoutError as error:
        raise aiohttp.ConnectionTimeoutError from error
    finally:
        CURRENT_HOP.reset(token)


def _head(method: str, url: URL, headers: Mapping[str, str], body: bytes | None, *, closes: bool) -> bytes:
    """The request line and the headers (RFC 9112 sections 3 and 5)."""
    fields = {"Host": url.host_port_subcomponent or "", **headers}
    if body is not None or method not in BODILESS_METHODS:
        fields["Content-Length"] = str(len(body or b""))
    if closes:
        fields["Connection"] = "close"
    return _serialize_headers(f"{method} {url.raw_path_qs} HTTP/1.1", fields)  # type: ignore[arg-type]
