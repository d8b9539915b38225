"""What each kind of remote party may be: three policies, three types, so that none can stand in for another.

Values only; `addresses` judges by them. An exemption for one kind never opens another.
"""

from dataclasses import dataclass, field

from common.egress.ranges import Address as Address  # noqa: F401
from common.egress.ranges import Network, Ranges

WEB_PORTS = frozenset({80, 443})


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """What judgements need to know of any policy. Never used as it is: say which kind you mean.

    `ports` may be dialled on public addresses, None means any. `unsafe_networks` may be dialled on any port although they are
    not public; `unsafe_ranges` are the same, for judging.
    """

    ports: frozenset[int] | None = WEB_PORTS
    unsafe_networks: tuple[Network, ...] = ()
    unsafe_ranges: Ranges[bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self) is EgressPolicy:
            raise TypeError("say which kind of policy: TargetPolicy, CallbackPolicy or ProxyPolicy")
        ranges = Ranges([(network, True) for network in self.unsafe_networks], otherwise=False)
        object.__setattr__(self, "unsafe_ranges", ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPolicy(EgressPolicy):
    """What callers may have fetched: pages, their redirects and their robots.txt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackPolicy(EgressPolicy):
    """Where deliveries may go: endpoints that callers registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyPolicy(EgressPolicy):
    """Where an outgoing proxy may be. It listens where its operator likes, so any port will do."""

    ports: frozenset[int] | None = None
