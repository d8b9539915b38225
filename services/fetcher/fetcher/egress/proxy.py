"""An outgoing proxy of our own choice: it is asked to CONNECT to an address that we have judged, and never chooses one.

http and https alike go through a tunnel (RFC 9110 section 9.3.6); TLS is spoken inside, with the host's own name. Whatever
goes wrong with the proxy is one `connect` failure to a caller, without the proxy's name, address or words.
"""

import asyncio
import base64
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import structlog
from common.contracts.fetches import ErrorType
from common.egress.addresses import AddressVerdict, judge_before_lookup, judge_dial, read_address, read_literal
from common.egress.lookup import Lookup, NameLookup, NameUnresolved
from common.egress.policies import Address, ProxyPolicy
from common.urls import Target, read_url

from fetcher.errors import ExchangeFailed

REPLY_LIMIT_BYTES = 8 * 1024
"""The head of a proxy's reply to CONNECT; it has no body when it says yes."""
READ_BYTES = 4096

_URL = re.compile(r"\Ahttp://(?:(?P<user>[^/?#@]*)@)?(?P<place>[^/?#@]+)/?\Z", re.ASCII | re.IGNORECASE)
_STATUS = re.compile(rb"\AHTTP/1\.[01] 2[0-9][0-9][ \r]")
_HEAD_END = b"\r\n\r\n"

OpenSocket = Callable[[int, int, int], socket.socket]
"""Makes an unconnected socket of a family, type and protocol."""

log = structlog.get_logger()


class TunnelRefused(ConnectionRefusedError):
    """The proxy is there and did not connect us to the address that we named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that its operator set up for us, and where it may be. `credentials` is the value of Proxy-Authorization."""

    name: str
    port: int
    policy: ProxyPolicy
    credentials: str | None = field(default=None, repr=False)


def read_proxy(url: str, *, policy: ProxyPolicy) -> Proxy:
    """Read `http://[user:password@]host[:port]`. Raises ValueError, without the URL in its text, for anything else."""
    match = _URL.match(url)
    target = read_url(f"http://{match['place']}/") if match else None
    if match is None or not isinstance(target, Target):
        raise ValueError("must be http://host:port or http://user:password@host:port")
    return Proxy(name=target.name, port=target.port, policy=policy, credentials=_credentials(match["user"]))


def _credentials(user_info: str | None) -> str | None:
    if user_info is None:
        return None
    plain = unquote_to_bytes(user_info)
    if b":" not in plain or any(byte < 0x20 or byte == 0x7F for byte in plain):
        raise ValueError("must name a user and a password without control characters")
    return f"Basic {base64.b64encode(plain).decode('ascii')}"  # RFC 7617 section 2


class ProxyDialer:
    """Opens tunnels through one proxy. Looks the proxy up once for each connection and judges where it dials."""

    def __init__(self, proxy: Proxy, *, lookup: Lookup | None = None, open_socket: OpenSocket) -> None:
        self._proxy = proxy
        self._open_socket = open_socket
        self._names = NameLookup(proxy.policy, lookup=lookup)

    async def open_tunnel(self, address: Address, port: int) -> tuple[socket.socket, Address]:
        """A connected socket whose other end is `address`, already judged, and the proxy's own address.

        Raises TunnelRefused when the proxy says no, and ExchangeFailed `connect` when it cannot be used at all. Sets no
        deadline: its caller does.
        """
        sock, proxy_address = await self._dial()
        try:
            await self._ask(sock, address=address, port=port)
        except BaseException:
            sock.close()
            raise
        return sock, proxy_address

    def judge_peer(self, address: Address, port: int) -> AddressVerdict:
        """May a connection's other end be this: the last look at where the proxy is."""
        return judge_dial(address, port, policy=self._proxy.policy)

    def close(self) -> None:
        """Free the lookup threads."""
        self._names.close()

    async def _dial(self) -> tuple[socket.socket, Address]:
        for text in await self._addresses():
            address = read_address(text)
            verdict = self.judge_peer(address, self._proxy.port)
            if not verdict.is_allowed:
                raise _refused(verdict)
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            sock = self._open_socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            if await _connect(sock, (text, self._proxy.port)):
                return sock, address
        raise proxy_failed("The outgoing proxy did not accept a connection.")

    async def _addresses(self) -> tuple[str, ...]:
        name, port, policy = self._proxy.name, self._proxy.port, self._proxy.policy
        if read_literal(name) is not None:
            return (name,)
        verdict = judge_before_lookup(name, port, policy=policy)
        if verdict is None:
            try:
                answers = await self._names.answers(name, port)
            except NameUnresolved as error:
                raise proxy_failed("The outgoing proxy could not be found.") from error
            if answers.verdict.is_allowed:
                return answers.addresses
            verdict = answers.verdict
        raise _refused(verdict)

    async def _ask(self, sock: socket.socket, *, address: Address, port: int) -> None:
        loop = asyncio.get_running_loop()
        place = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if self._proxy.credentials is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.credentials}")
        reply = b""
        try:
            await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("ascii"))
            while _HEAD_END not in reply:
                received = await loop.sock_recv(sock, READ_BYTES)
                reply += received
                if not received or len(reply) > REPLY_LIMIT_BYTES:
                    raise proxy_failed("The outgoing proxy did not answer as HTTP asks.")
        except OSError as error:
            raise proxy_failed("The outgoing proxy broke the connection.") from error
        # Nothing may follow the head: inside the tunnel we speak first, in HTTP as in TLS.
        if not _STATUS.match(reply) or not reply.endswith(_HEAD_END):
            log.warning("egress proxy refused a tunnel", answer=reply[:64].decode("ascii", "replace"))
            raise TunnelRefused


async def _connect(sock: socket.socket, place: tuple[str, int]) -> bool:
    """Whether it is connected now; if not, it is closed."""
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except OSError:
        sock.close()
        return False
    except BaseException:
        sock.close()
        raise
    return True


def proxy_failed(detail: str = "The outgoing proxy may not be used.") -> ExchangeFailed:
    """The one failure that any trouble with a proxy comes to."""
    return ExchangeFailed(ErrorType.CONNECT, detail)


def _refused(verdict: AddressVerdict) -> ExchangeFailed:
    log.warning("egress proxy is where its policy allows none", verdict=verdict.value)
    return proxy_failed()
