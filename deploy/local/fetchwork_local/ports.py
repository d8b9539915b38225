"""Choose loopback ports that are free, once, and keep them while they stay free."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fetchwork_local.errors import PortTaken, StackError

LOOPBACK = "127.0.0.1"
DEMO_ADDRESS = "127.8.0.1"
"""Linux serves all of 127/8. An address of its own lets the egress policy allow the demo origin and nothing else here."""

GATEWAY_DEFAULT_PORT = 8080
FIRST_PORT = 20_000
TRY_LIMIT = 500
EPHEMERAL_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL_FIRST_PORT = 32_768


class Ports(BaseModel):
    """Every port of one stack. All are on 127.0.0.1, but `demo`, which is on DEMO_ADDRESS."""

    model_config = ConfigDict(frozen=True)

    gateway: int
    gateway_metrics: int
    fetcher_metrics: int
    store: int
    store_metrics: int
    postgres: int
    events: int
    broker: int
    demo: int


def choose_ports(remembered: Ports | None, *, gateway: int | None) -> Ports:
    """The remembered ports where they are free, others where not. Raises PortTaken when `gateway` was asked for and is taken."""
    candidates = _free_ports()
    chosen: dict[str, int] = {}
    for name in Ports.model_fields:
        before = getattr(remembered, name, None)
        if name == "gateway":
            chosen[name] = _gateway_port(gateway, before, candidates)
        else:
            chosen[name] = before if before and is_free(_address(name), before) else next(candidates)
    return Ports(**chosen)


def free_port(address: str = LOOPBACK) -> int:
    """One free port, outside the range that the kernel gives to outgoing connections."""
    return next(_free_ports(address))


def is_free(address: str, port: int) -> bool:
    """True when a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _gateway_port(asked: int | None, before: int | None, candidates: Iterator[int]) -> int:
    if asked:
        if not is_free(LOOPBACK, asked):
            raise PortTaken(f"Port {asked} on {LOOPBACK} is in use; choose another, or none to have a free one picked.")
        return asked
    wanted = before or GATEWAY_DEFAULT_PORT
    return wanted if is_free(LOOPBACK, wanted) else next(candidates)


def _address(name: str) -> str:
    return DEMO_ADDRESS if name == "demo" else LOOPBACK


def _free_ports(*addresses: str) -> Iterator[int]:
    """Distinct ports that are free. A port of the ephemeral range could be taken by any connection while a server restarts."""
    numbers = range(FIRST_PORT, max(_first_ephemeral_port(), FIRST_PORT + TRY_LIMIT))
    for port in random.SystemRandom().sample(numbers, TRY_LIMIT):
        if all(is_free(address, port) for address in addresses or (LOOPBACK, DEMO_ADDRESS)):
            yield port
    raise StackError("No free port was found on the loopback address.")


def _first_ephemeral_port() -> int:
    try:
        return int(EPHEMERAL_RANGE_FILE.read_text().split()[0])
    except OSError:
        return EPHEMERAL_FIRST_PORT
