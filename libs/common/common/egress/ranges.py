"""Readable lists of networks, flattened for looking up: each judgement is one search among sorted bounds. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Generic, TypeVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Value = TypeVar("Value")


class Ranges(Generic[Value]):
    """What each address is by a list of networks, of both families. Where networks overlap, the first in the list wins."""

    def __init__(self, listed: Iterable[tuple[Network, Value]], *, otherwise: Value) -> None:
        networks = list(listed)
        self._of_family = {
            version: _flatten([entry for entry in networks if entry[0].version == version], otherwise=otherwise)
            for version in (4, 6)
        }

    def at(self, address: Address) -> Value:
        """The value of the first network that holds `address`, or the one for what is in none of them."""
        bounds, values = self._of_family[address.version]
        return values[bisect_right(bounds, int(address)) - 1]


def _flatten(networks: list[tuple[Network, Value]], *, otherwise: Value) -> tuple[list[int], list[Value]]:
    """Where the value changes, from 0 on, and the value from there to the next bound."""
    spans = [(int(network.network_address), int(network.broadcast_address), value) for network, value in networks]
    bounds = sorted({0, *(first for first, _, _ in spans), *(last + 1 for _, last, _ in spans)})
    values = [next((value for first, last, value in spans if first <= bound <= last), otherwise) for bound in bounds]
    return bounds, values
