"""The checks at the dial itself: what a socket is opened for, and who is at the other end of a connection.

aiohttp calls what is asked at the dial; the current hop tells it for which request. The connector overrides one private method of
aiohttp (`_wrap_create_connection`, as aiohttp-socks does); the tests of proxies and budgets fail when that ever moves.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import AddrInfoType, Connection
from common.egress.addresses import AddressVerdict, judge_dial, read_address
from common.egress.lookup import Lookup
from common.egress.policies import Address, CallbackPolicy, EgressPolicy, ProxyPolicy, TargetPolicy
from multidict import CIMultiDict
from yarl import URL

from fetcher.egress.budgets import Budgets
from fetcher.egress.evidence import CURRENT_HOP, HopRecord
from fetcher.egress.failures import refuse
from fetcher.egress.kept import Keeping, KeepingConnector
from fetcher.egress.proxy import OpenSocket as OpenSocket
from fetcher.egress.proxy import Proxy, ProxyDialer, TunnelRefused, proxy_failed
from fetcher.egress.resolver import GuardedResolver
from fetcher.egress.wire import MeteredProtocol

_NO_HEADERS: CIMultiDict[str] = CIMultiDict()


def guarded_socket_factory(policy: EgressPolicy, *, open_socket: OpenSocket) -> Callable[[AddrInfoType], socket.socket]:
    """Judge the very address about to be dialled: the last wall, which also sees literals that no resolver saw."""

    def make_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        hop = CURRENT_HOP.get()
        hop.dialled.add(_admit(sockaddr, hop=hop, policy=policy))
        return open_socket(family, kind, protocol)

    return make_socket


def _admit(sockaddr: Any, *, hop: HopRecord, policy: EgressPolicy) -> Address:
    address = read_address(sockaddr[0])
    hop.verdict = judge_dial(address, sockaddr[1], policy=policy)
    if not hop.verdict.is_allowed:
        raise PermissionError(f"egress: {hop.verdict}")
    return address


class GuardedConnector(KeepingConnector):
    """Opens connections to judged addresses only, directly or through a proxy's tunnel, within one connect budget each."""

    def __init__(
        self, policy: EgressPolicy, *, dialer: ProxyDialer | None, connect_seconds: float, **edges: Any
    ) -> None:
        super().__init__(**edges)
        self._policy = policy
        self._dialer = dialer
        self._connect_seconds = connect_seconds
        self._tunnels: WeakKeyDictionary[ResponseHandler, tuple[Address, int]] = WeakKeyDictionary()
        self._peers: WeakKeyDictionary[ResponseHandler, tuple[str, AddressVerdict]] = WeakKeyDictionary()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection."""
        if self._dialer is not None:
            self._dialer.close()
        await super().close(abort_ssl=abort_ssl)

    def judge_connection(self, conn: Connection, *, hop: HopRecord) -> tuple[asyncio.Transport, ResponseHandler]:
        """Look at a connection's other end before anything is written to it, new or kept, and note what is there.

        Raises ServerDisconnectedError when it is gone, and ExchangeFailed unless the end is allowed and, on a new connection, an
        address that this very dial opened.
        """
        transport, protocol = conn.transport, conn.protocol
        if transport is None or protocol is None:
            raise aiohttp.ServerDisconnectedError
        hop.via_proxy = self._dialer is not None
        known = None if hop.dialled else self._peers.get(protocol)
        if known is None:
            self._judge_peer(transport, protocol, hop=hop)
        else:  # the other end of an open connection never changes, nor does the policy
            hop.peer, hop.verdict = known
        return transport, protocol

    def _judge_peer(self, transport: asyncio.BaseTransport, protocol: ResponseHandler, *, hop: HopRecord) -> None:
        peername = transport.get_extra_info("peername")
        if not peername:
            raise aiohttp.ServerDisconnectedError
        peer = read_address(peername[0])
        hop.peer = str(peername[0])
        is_stranger = peer not in hop.dialled
        if self._dialer is not None:
            if is_stranger or not self._dialer.judge_peer(peer, peername[1]).is_allowed:
                raise proxy_failed()
            target, port = self._tunnels[protocol]
            hop.verdict = judge_dial(target, port, policy=self._policy)
        else:
            hop.verdict = judge_dial(peer, peername[1], policy=self._policy)
            if is_stranger:
                hop.verdict = AddressVerdict.DENY_PEER
        if not hop.verdict.is_allowed:
            raise refuse(hop.verdict)  # aiohttp closes the connection
        if not self.force_close:  # then it will be met again
            self._peers[protocol] = (hop.peer, hop.verdict)

    def _wrap_create_connection(
        self, *args: Any, addr_infos: list[AddrInfoType], req: ClientRequest, timeout: aiohttp.ClientTimeout, **rest: Any
    ) -> Coroutine[Any, Any, tuple[asyncio.Transport, ResponseHandler]]:
        """Called with what is left of the addresses after each failure; all calls of one request share one deadline.

        What is left until then takes the place of aiohttp's own limit, which is for each call.
        """
        left = aiohttp.ClientTimeout(sock_connect=self._seconds_left(req), ceil_threshold=math.inf)
        if self._dialer is None:
            return super()._wrap_create_connection(*args, addr_infos=addr_infos, req=req, timeout=left, **rest)
        return self._tunnel(self._dialer, *args, sockaddr=addr_infos[0][4], req=req, timeout=left, **rest)

    async def _tunnel(
        self,
        dialer: ProxyDialer,
        *args: Any,
        sockaddr: Any,
        req: ClientRequest,
        timeout: aiohttp.ClientTimeout,
        **rest: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        hop = CURRENT_HOP.get()
        address = _admit(sockaddr, hop=hop, policy=self._policy)
        async with asyncio.timeout(timeout.sock_connect):
            try:
                sock, proxy_address = await dialer.open_tunnel(address, sockaddr[1])
            except TunnelRefused as error:  # as a connection that the host refused: aiohttp goes on to its next address
                raise aiohttp.ClientConnectorError(req.connection_key, error) from error
            hop.dialled.add(proxy_address)
            transport, protocol = await self._wrap_existing_connection(
                *args, sock=sock, req=req, timeout=timeout, **rest
            )
        self._tunnels[protocol] = (address, sockaddr[1])
        return transport, protocol

    def _seconds_left(self, req: ClientRequest) -> float:
        """Until the request's connection must be there, counted from its first dial. Raises TimeoutError when that has passed."""
        if not isinstance(req, GuardedRequest):
            raise TypeError("a guarded connector serves guarded requests only")
        now = self._loop.time()
        if req.connect_ends_at is None:
            req.connect_ends_at = now + self._connect_seconds
        if now >= req.connect_ends_at:
            raise TimeoutError
        return req.connect_ends_at - now


class GuardedRequest(ClientRequest):
    """What a connector asks of a request: where it goes, and until when its connection must be there. It is never sent itself."""

    def __init__(self, method: str, url: URL) -> None:
        self.method = method
        self.url = self.original_url = url
        self.headers = _NO_HEADERS
        self._ssl = True  # as the connector has it
        self.proxy = self.proxy_auth = self.proxy_headers = self.server_hostname = None
        self.connect_ends_at: float | None = None


def guarded_connector(
    policy: TargetPolicy | CallbackPolicy,
    *,
    resolver: GuardedResolver,
    lookup: Lookup | None = None,
    open_socket: OpenSocket,
    tls: ssl.SSLContext,
    budgets: Budgets,
    keeping: Keeping | None,
    on_evicted: Callable[[], None] = lambda: None,
    proxy: Proxy | None = None,
) -> GuardedConnector:
    """The one way out, for the running loop. TCP, CONNECT and TLS over all addresses of a host share one budget after its lookup.

    `keeping` is as KeepingConnector has it. `lookup` is for the proxy's own name; targets are looked up by `resolver`. Raises
    TypeError for a policy of another kind.
    """
    if not isinstance(policy, TargetPolicy | CallbackPolicy) or not isinstance(proxy and proxy.policy, ProxyPolicy | None):
        raise TypeError("a policy of another kind")
    connector = GuardedConnector(
        policy,
        dialer=ProxyDialer(proxy, lookup=lookup, open_socket=open_socket) if proxy else None,
        connect_seconds=budgets.connect_seconds,
        keeping=keeping,
        on_evicted=on_evicted,
        resolver=resolver,
        use_dns_cache=False,  # a cached answer would be one that this dial did not judge
        socket_factory=guarded_socket_factory(policy, open_socket=open_socket),
        ssl=tls,
        limit=0,  # slots and host pace bound what is open; a second queue here would only hide waiting
        limit_per_host=0,
    )
    connector._factory = partial(MeteredProtocol, asyncio.get_running_loop(), budgets=budgets)  # type: ignore[assignment]
    return connector


def verifying_tls() -> ssl.SSLContext:
    """Certificates and host names verified, nothing older than TLS 1.2."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
