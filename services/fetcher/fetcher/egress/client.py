"""The guarded exchange: the address that was checked is the address that is dialled, on every hop.

Nothing else opens a connection to a remote host. Every way around the guard is closed: no proxy or other setting from the
environment, no cookies, no credentials from a netrc file, no redirect, decompression or retry of a library's own.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from types import MappingProxyType

import aiohttp
from common.contracts.fetches import (
    IDEMPOTENT_METHODS,
    Budget,
    ErrorType,
    FetchRequest,
    Redirect,
    ResponseHead,
    Validators,
)
from common.egress.addresses import AddressVerdict, read_literal
from common.egress.lookup import Lookup
from common.egress.policies import CallbackPolicy, TargetPolicy
from common.egress.targets import judge_unasked
from common.urls import URL_LIMIT_CHARACTERS, Target, UrlRefusal, read_redirect, read_url

from fetcher.egress.asking import Answer, ask
from fetcher.egress.budgets import Budgets
from fetcher.egress.conditional import conditional_headers
from fetcher.egress.dial import OpenSocket, guarded_connector, verifying_tls
from fetcher.egress.evidence import EvidenceLog, HopRecord
from fetcher.egress.failures import refuse, refuse_url, translate
from fetcher.egress.headers import (
    content_coding,
    first_value,
    foreign_transfer_codings,
    media_type,
    outgoing_headers,
    read_headers,
)
from fetcher.egress.kept import Keeping
from fetcher.egress.proxy import Proxy
from fetcher.egress.redirects import REDIRECT_STATUSES, Sending, first_sending, follow
from fetcher.egress.resolver import GuardedResolver
from fetcher.egress.spans import hop_span
from fetcher.errors import ExchangeFailed

BODILESS_STATUSES = frozenset({204, 304})  # RFC 9112 section 6.3
NOT_MODIFIED = 304

Admit = Callable[[Target], Awaitable[None]]
"""Asked before every hop, the first one included, for as long as it takes; raises when the hop must not be made."""
MayFollow = Callable[[ResponseHead], bool]
"""Asked before a redirect is followed; when it says no, the redirect is the final response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The final response of an attempt. Its body is still on the wire: read `chunks`, as sent, while the exchange is open.

    `coding` is the declared content coding in lower case, empty when there is none. `length` is the declared length of those
    chunks, None when there is none or no body comes. `is_revalidation` says that the response is a 304 to validators of ours.
    """

    head: ResponseHead
    coding: str
    length: int | None
    chunks: AsyncIterator[bytes]
    is_revalidation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hop:
    """Where a hop goes, what it sends, and which of its headers are ours to make it conditional.

    `verdict` is what can be said of its target without a lookup, None when that is nothing.
    """

    target: Target
    sending: Sending
    conditions: Mapping[str, str]
    verdict: AddressVerdict | None


class EgressClient:
    """Performs guarded exchanges. Construct it on the loop that uses it; `close()` frees its sockets and threads."""

    def __init__(
        self,
        policy: TargetPolicy | CallbackPolicy,
        *,
        user_agent: str,
        contact: str | None = None,
        budgets: Budgets = Budgets(),
        lookup: Lookup | None = None,
        open_socket: OpenSocket = socket.socket,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        keeping: Keeping = Keeping(),
        on_evicted: Callable[[], None] = lambda: None,
    ) -> None:
        self._policy = policy
        self._user_agent = user_agent
        self._contact = contact
        self.budgets = budgets
        self._resolver = GuardedResolver(policy, lookup=lookup)
        open_connector = partial(
            guarded_connector,
            policy,
            resolver=self._resolver,
            lookup=lookup,
            open_socket=open_socket,
            tls=tls or verifying_tls(),
            budgets=budgets,
            proxy=proxy,
        )
        self._connector = open_connector(keeping=keeping, on_evicted=on_evicted)
        # A kept connection may turn out to be closed after the request went out, and nobody could say whether it was acted
        # on. What may go out only once gets a connection of its own.
        self._fresh_connector = open_connector(keeping=None)

    @property
    def idle_connections(self) -> int:
        """How many connections are kept for the next request. Safe for any thread."""
        return self._connector.idle

    async def close(self) -> None:
        """Close every connection, running exchanges included."""
        await self._connector.close()
        await self._fresh_connector.close()
        await self._resolver.close()

    def exchange(
        self,
        request: FetchRequest,
        *,
        log: EvidenceLog,
        validators: Validators | None = None,
        admit: Admit | None = None,
        may_follow: MayFollow | None = None,
    ) -> AbstractAsyncContextManager[Exchange]:
        """Follow redirects to the final response and hold it open; every hop is judged anew and written into `log`.

        `validators` make the first hop conditional, unless the caller's own headers do. Raises ExchangeFailed for anything
        that the remote side or our policy does, and what `admit` raises. Sets no deadline over all hops: its caller does.
        """
        return _Held(self._open(request, log=log, validators=validators, admit=admit, may_follow=may_follow))

    async def _open(
        self,
        request: FetchRequest,
        *,
        log: EvidenceLog,
        validators: Validators | None,
        admit: Admit | None,
        may_follow: MayFollow | None,
    ) -> tuple[Exchange, Answer]:
        target = _read_target(request.url, read_url(request.url), log=log)
        log.host = target.host
        hop = self._hop(target, first_sending(request), conditions=conditional_headers(request, validators))
        while True:
            _refuse_unasked(hop, log=log)  # before its host is asked for anything else
            if admit is not None:
                await admit(hop.target)
            answer = await self._send(hop, log=log)
            try:
                head = _read_head(answer, url=hop.target.url, log=log, budgets=self.budgets)
                following = self._next_hop(head, hop, log=log)
                if following is None or not (may_follow is None or may_follow(head)):
                    exchange = self._open_exchange(answer, hop, head=head, log=log)
                    return exchange if not hop.conditions else _as_revalidation(exchange), answer
            except BaseException:
                answer.release()
                raise
            answer.release()  # and close its connection, unless there was no body: none is read here
            log.redirects.append(Redirect(url=hop.target.url, status=head.status))
            hop = following

    def _next_hop(self, head: ResponseHead, hop: _Hop, *, log: EvidenceLog) -> _Hop | None:
        """The hop that a response asks for, or None when it is the final one."""
        location = first_value(head.headers, "location") if head.status in REDIRECT_STATUSES else None
        if location is None:
            return None
        if len(log.redirects) >= self.budgets.redirects:
            detail = f"The host redirected more than {self.budgets.redirects} times."
            raise ExchangeFailed(ErrorType.TOO_MANY_REDIRECTS, detail, exceeded=Budget.REDIRECTS)
        target = _read_target(location, read_redirect(location, base=hop.target), log=log)
        sending = follow(head.status, hop.sending, source=hop.target, target=target)
        if sending is None:
            return None
        return self._hop(target, sending)

    def _hop(self, target: Target, sending: Sending, *, conditions: Mapping[str, str] = MappingProxyType({})) -> _Hop:
        verdict = judge_unasked(target, policy=self._policy)
        return _Hop(target=target, sending=sending, conditions=conditions, verdict=verdict)

    async def _send(self, hop: _Hop, *, log: EvidenceLog) -> Answer:
        try:
            return await self._send_once(hop, log=log)
        except _ConnectionLost:
            # RFC 9112 section 9.3.1: the other side may close a kept connection just as we write on it; then, and only then,
            # the request is sent again. On a fresh connection the origin may have acted on it: that is the caller's retry.
            if not log.hops[-1].is_reused or hop.sending.method not in IDEMPOTENT_METHODS:
                raise
            return await self._send_once(hop, log=log)

    async def _send_once(self, hop: _Hop, *, log: EvidenceLog) -> Answer:
        record = log.open_hop(hop.target.url, method=hop.sending.method)
        with hop_span(record, resend_count=len(log.hops) - 1):
            return await self._ask(hop, record)

    async def _ask(self, hop: _Hop, record: HopRecord) -> Answer:
        target, sending = hop.target, hop.sending
        _note_unasked(hop, record)
        connector = self._connector if sending.method in IDEMPOTENT_METHODS else self._fresh_connector
        headers = outgoing_headers(sending.headers, user_agent=self._user_agent, contact=self._contact)
        try:
            answer = await ask(
                connector,
                sending.method,
                target.parsed,
                headers={**headers, **hop.conditions},
                body=sending.body,
                hop=record,
                budgets=self.budgets,
            )
        except Exception as error:
            failure = refuse(record.verdict) if record.verdict.is_denial else translate(error)
            if failure is None or failure is error:
                raise
            if _is_lost(error) and not record.verdict.is_denial:
                detail = "The host closed the connection before it answered."
                failure = _ConnectionLost(ErrorType.PROTOCOL, detail)
            raise failure from error
        record.answered_at = perf_counter()
        record.status = answer.status
        return answer

    def _open_exchange(self, answer: Answer, hop: _Hop, *, head: ResponseHead, log: EvidenceLog) -> Exchange:
        is_bodiless = hop.sending.method == "HEAD" or head.status in BODILESS_STATUSES
        return Exchange(
            head=head,
            coding=content_coding(head.headers),
            length=None if is_bodiless else answer.content_length,
            chunks=_Chunks(answer.content, log=log, idle_seconds=self.budgets.idle_seconds),
        )


class _ConnectionLost(ExchangeFailed):
    """The connection broke before a response came."""


def _is_lost(error: Exception) -> bool:
    """Whether a connection that was there broke. A timeout of aiohttp's is a disconnection by blood only."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError):
        return False
    return isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)


def _read_target(text: str, read: Target | UrlRefusal, *, log: EvidenceLog) -> Target:
    if isinstance(read, Target):
        return read
    hop = log.open_hop(text[:URL_LIMIT_CHARACTERS])
    hop.verdict, failure = refuse_url(read)
    raise failure


def _refuse_unasked(hop: _Hop, *, log: EvidenceLog) -> None:
    """Refuse what no lookup is needed for. The evidence names what was wanted, beside the response that led there, if any."""
    if hop.verdict is not None and hop.verdict.is_denial:
        record = HopRecord(url=hop.target.url, method=hop.sending.method)
        _note_unasked(hop, record)
        log.hops.append(record)
        raise refuse(hop.verdict)


def _note_unasked(hop: _Hop, record: HopRecord) -> None:
    """What is known of an exchange before anything was looked up."""
    if read_literal(hop.target.name) is not None:
        record.addresses.append(hop.target.name)
    if hop.verdict is not None:
        record.verdict = hop.verdict


def _read_head(answer: Answer, *, url: str, log: EvidenceLog, budgets: Budgets) -> ResponseHead:
    if answer.status < 200:
        raise ExchangeFailed(ErrorType.PROTOCOL, "The host switched to another protocol.")
    headers = read_headers(answer.raw_headers, budgets=budgets)
    if foreign_transfer_codings(headers):
        raise ExchangeFailed(ErrorType.PROTOCOL, "The response has a transfer coding that was not asked for; only chunked is.")
    log.received = ResponseHead(
        status=answer.status,
        headers=headers,
        media_type=media_type(first_value(headers, "content-type")),
        redirects=tuple(log.redirects),
        final_url=url,
    )
    return log.received


def _as_revalidation(exchange: Exchange) -> Exchange:
    return replace(exchange, is_revalidation=exchange.head.status == NOT_MODIFIED)


class _Held:
    """An exchange that is open inside `async with`. No generator, since the loop keeps a list of the asynchronous ones."""

    def __init__(self, opening: Coroutine[None, None, tuple[Exchange, Answer]]) -> None:
        self._opening = opening

    async def __aenter__(self) -> Exchange:
        exchange, self._answer = await self._opening
        return exchange

    async def __aexit__(self, *_: object) -> None:
        self._answer.release()


class _Chunks:
    """The body's chunks as they arrive, counted; what goes wrong is told in our words."""

    def __init__(self, content: aiohttp.StreamReader, *, log: EvidenceLog, idle_seconds: float) -> None:
        self._content, self._log, self._idle_seconds = content, log, idle_seconds

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await _next_chunk(self._content, idle_seconds=self._idle_seconds)
        except Exception as error:
            failure = translate(error)
            if failure is None or failure is error:
                raise
            raise failure from error
        if not chunk:
            raise StopAsyncIteration
        self._log.wire_bytes += len(chunk)
        return chunk


async def _next_chunk(content: aiohttp.StreamReader, *, idle_seconds: float) -> bytes:
    """What has arrived, waiting for it no longer than the budget; empty at the end."""
    arrived = content.read_nowait()
    if arrived or content.at_eof():
        return arrived
    try:
        async with asyncio.timeout(idle_seconds):
            return await content.readany()
    except TimeoutError as error:
        detail = "The host stopped sending in the middle of the response."
        raise ExchangeFailed(ErrorType.TIMEOUT, detail, exceeded=Budget.IDLE) from error
