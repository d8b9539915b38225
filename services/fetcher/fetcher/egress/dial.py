"""The two checks at the dial itself: what a socket is opened for, and who is at the other end of a connection.

aiohttp calls both from inside a request; the current hop tells them which one.
"""

import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from time import perf_counter

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import AddrInfoType, Connection

from fetcher.egress.addresses import AddressVerdict, EgressPolicy, judge_dial
from fetcher.egress.evidence import CURRENT_HOP
from fetcher.egress.failures import refuse

OpenSocket = Callable[[int, int, int], socket.socket]
"""Makes an unconnected socket of a family, type and protocol."""


def guarded_socket_factory(policy: EgressPolicy, *, open_socket: OpenSocket) -> Callable[[AddrInfoType], socket.socket]:
    """Judge the very address about to be dialled: the last wall, which also sees literals that no resolver saw."""

    def make_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = info
        hop = CURRENT_HOP.get()
        address = ip_address(sockaddr[0])
        hop.verdict = judge_dial(address, sockaddr[1], policy=policy)
        if not hop.verdict.is_allowed:
            raise PermissionError(f"egress: {hop.verdict}")
        hop.dialled.add(address)
        return open_socket(family, kind, protocol)

    return make_socket


def guarded_request_class(policy: EgressPolicy) -> type[ClientRequest]:
    """A request that looks at its connection's other end before it writes; the end must be an address of this very dial."""

    class GuardedRequest(ClientRequest):
        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            hop = CURRENT_HOP.get()
            hop.connected_at = perf_counter()
            transport = conn.transport
            peername = transport.get_extra_info("peername") if transport else None
            if transport is None or not peername:
                raise aiohttp.ServerDisconnectedError
            peer = ip_address(peername[0])
            hop.peer = str(peer)
            hop.verdict = judge_dial(peer, peername[1], policy=policy)
            if hop.dialled and peer not in hop.dialled:
                hop.verdict = AddressVerdict.DENY_PEER
            if not hop.verdict.is_allowed:
                raise refuse(hop.verdict)  # aiohttp closes the connection
            tls = transport.get_extra_info("ssl_object")
            hop.tls_version = tls.version() if tls else None
            return await super().send(conn)

    return GuardedRequest


def verifying_tls() -> ssl.SSLContext:
    """Certificates and host names verified, nothing older than TLS 1.2."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
