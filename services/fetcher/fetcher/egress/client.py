"""The guarded exchange: the address that was checked is the address that is dialled, on every hop.

No other module opens a connection to a remote host. Every way around the guard is closed: no proxy or other setting from the
environment, no cookies, no credentials from a netrc file, no redirect, decompression or retry of aiohttp's own.
"""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from time import perf_counter

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from common.contracts.fetches import ErrorType, FetchRequest, ResponseHead
from common.urls import URL_LIMIT_CHARACTERS, Target, UrlRefusal, read_redirect, read_url
from yarl import URL

from fetcher.egress.addresses import EgressPolicy, judge_before_lookup, judge_dial
from fetcher.egress.dial import OpenSocket, guarded_request_class, guarded_socket_factory, verifying_tls
from fetcher.egress.evidence import CURRENT_HOP, EvidenceLog, HopRecord
from fetcher.egress.failures import refuse, refuse_url, translate
from fetcher.egress.headers import first_value, media_type, outgoing_headers, read_headers
from fetcher.egress.resolver import GuardedResolver, Lookup
from fetcher.errors import ExchangeFailed

BODILESS_STATUSES = frozenset({204, 304})  # RFC 9112 section 6.3
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
REDIRECT_LIMIT = 5
DIAL_TIMEOUT_SECONDS = 5.0
KEEPALIVE_SECONDS = 2.0
"""Idle connections are kept this long: enough for the next fetch of a paced host, too short to pile up sockets."""
HEADER_LINE_LIMIT_BYTES = 16 * 1024
HEADER_COUNT_LIMIT = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The final response of an attempt. Its body is still on the wire: read `chunks`, as sent, while the exchange is open.

    `length` is the declared length of those chunks, None when there is none or no body comes.
    """

    head: ResponseHead
    coding: str
    length: int | None
    chunks: AsyncIterator[bytes]


class EgressClient:
    """Performs guarded exchanges. Construct it on the loop that uses it; `close()` frees its sockets and threads."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        user_agent: str,
        lookup: Lookup | None = None,
        open_socket: OpenSocket = socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._resolver = GuardedResolver(policy, lookup=lookup)
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,  # a cached answer would be one that this dial did not judge
            socket_factory=guarded_socket_factory(policy, open_socket=open_socket),
            ssl=tls or verifying_tls(),
            limit=0,  # slots and host pace bound what is open; a second queue here would only hide waiting
            limit_per_host=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            request_class=guarded_request_class(policy),
            middlewares=(_attempt_once,),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_SECONDS),
            max_line_size=HEADER_LINE_LIMIT_BYTES,
            max_field_size=HEADER_LINE_LIMIT_BYTES,
            max_headers=HEADER_COUNT_LIMIT,
        )

    async def close(self) -> None:
        """Close every connection, running exchanges included."""
        await self._session.close()
        await self._resolver.close()

    @asynccontextmanager
    async def exchange(self, request: FetchRequest, *, log: EvidenceLog) -> AsyncIterator[Exchange]:
        """Follow redirects to the final response and hold it open; every hop is judged anew and written into `log`.

        Raises ExchangeFailed for anything that the remote side or our policy does. Sets no deadline: its caller does.
        """
        text, target, asked = request.url, read_url(request.url), request.headers
        log.host = None if isinstance(target, UrlRefusal) else target.host
        for _ in range(REDIRECT_LIMIT + 1):
            if isinstance(target, UrlRefusal):
                raise _refused_url(target, text=text, log=log)
            response = await self._send(target, method=request.method, asked=asked, log=log)
            try:
                head = _read_head(response, url=target.url)
                location = first_value(head.headers, "location")
                if head.status not in REDIRECT_STATUSES or location is None:
                    yield _open_exchange(response, head=head, log=log)
                    return
            finally:
                response.release()  # closes the connection unless the body was read to its end: a redirect's never is
            source, text, target = target, location, read_redirect(location, base=target)
            if not isinstance(target, UrlRefusal) and target.origin != source.origin:
                asked = {}  # caller headers may be credentials; they were meant for the first origin only
        raise ExchangeFailed(ErrorType.TOO_MANY_REDIRECTS, f"The host redirected more than {REDIRECT_LIMIT} times.")

    async def _send(
        self, target: Target, *, method: str, asked: dict[str, str], log: EvidenceLog
    ) -> aiohttp.ClientResponse:
        try:
            return await self._send_once(target, method=method, asked=asked, log=log)
        except _ConnectionLost:
            # RFC 9112 section 9.3.1: the other side may close a kept connection just as we write on it; then, and only then,
            # the request is sent again. On a fresh connection the origin may have acted on it: that is the caller's retry.
            if not log.hops[-1].is_reused:
                raise
            return await self._send_once(target, method=method, asked=asked, log=log)

    async def _send_once(
        self, target: Target, *, method: str, asked: dict[str, str], log: EvidenceLog
    ) -> aiohttp.ClientResponse:
        hop = log.open_hop(target.url)
        self._admit(target, hop=hop)
        token = CURRENT_HOP.set(hop)
        try:
            response = await self._session.request(
                method,
                URL(target.url, encoded=True),
                headers=outgoing_headers(asked, user_agent=self._user_agent),
                allow_redirects=False,
            )
        except Exception as error:
            failure = refuse(hop.verdict) if hop.verdict.is_denial else translate(error)
            if failure is None or failure is error:
                raise
            raise failure from error
        finally:
            CURRENT_HOP.reset(token)
        hop.answered_at = perf_counter()
        hop.status = response.status
        return response

    def _admit(self, target: Target, *, hop: HopRecord) -> None:
        """Judge all that can be judged without a lookup."""
        try:
            address = ip_address(target.name)
        except ValueError:
            verdict = judge_before_lookup(target.name, target.port, policy=self._policy)
        else:
            hop.addresses = [target.name]
            verdict = judge_dial(address, target.port, policy=self._policy)
        hop.verdict = verdict or hop.verdict
        if hop.verdict.is_denial:
            raise refuse(hop.verdict)


class _ConnectionLost(ExchangeFailed):
    """The connection broke before a response came."""


async def _attempt_once(request: ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again on its own, which it does for a GET whose connection broke."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(ErrorType.PROTOCOL, "The host closed the connection before it answered.") from error


def _refused_url(refusal: UrlRefusal, *, text: str, log: EvidenceLog) -> ExchangeFailed:
    hop = log.open_hop(text[:URL_LIMIT_CHARACTERS])
    hop.verdict, failure = refuse_url(refusal)
    return failure


def _read_head(response: aiohttp.ClientResponse, *, url: str) -> ResponseHead:
    if response.status < 200:
        raise ExchangeFailed(ErrorType.PROTOCOL, "The host switched to another protocol.")
    headers = read_headers(response.raw_headers)
    return ResponseHead(
        status=response.status,
        headers=headers,
        media_type=media_type(first_value(headers, "content-type")),
        final_url=url,
    )


def _open_exchange(response: aiohttp.ClientResponse, *, head: ResponseHead, log: EvidenceLog) -> Exchange:
    is_bodiless = response.method == "HEAD" or head.status in BODILESS_STATUSES
    codings = [value.strip().lower() for name, value in head.headers if name.lower() == "content-encoding"]
    return Exchange(
        head=head,
        coding=", ".join(codings),
        length=None if is_bodiless else response.content_length,
        chunks=_chunks(response, log=log),
    )


async def _chunks(response: aiohttp.ClientResponse, *, log: EvidenceLog) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            log.wire_bytes += len(chunk)
            yield chunk
    except Exception as error:
        failure = translate(error)
        if failure is None or failure is error:
            raise
        raise failure from error
