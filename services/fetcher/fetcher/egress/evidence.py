"""What an attempt does on the wire, written down as it happens. Holds facts and timings; judges nothing."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter

from common.contracts.fetches import Budget, Evidence, Hop, Redirect, ResponseHead, RobotsEvidence
from common.egress.addresses import Address, AddressVerdict


@dataclass(slots=True, kw_only=True)
class HopRecord:
    """One exchange while it runs. `dialled` are the addresses that a socket was opened for: empty on a reused connection."""

    url: str
    method: str = "GET"
    verdict: AddressVerdict = AddressVerdict.UNKNOWN
    via_proxy: bool = False
    addresses: list[str] = field(default_factory=list)
    dialled: set[Address] = field(default_factory=set)
    peer: str | None = None
    tls_version: str | None = None
    status: int | None = None
    started_at: float = field(default_factory=perf_counter)
    dns_seconds: float = 0.0
    connected_at: float | None = None
    answered_at: float | None = None

    @property
    def is_reused(self) -> bool:
        """True when the request went out on a connection that an earlier exchange opened."""
        return self.connected_at is not None and not self.dialled

    @property
    def connect_seconds(self) -> float:
        """TCP and TLS, without the lookup; 0 on a reused connection and before a connection is there."""
        if self.connected_at is None or self.is_reused:
            return 0.0
        return max(0.0, self.connected_at - self.started_at - self.dns_seconds)

    @property
    def first_byte_seconds(self) -> float:
        """From a ready connection to the end of the response head; 0 before that."""
        if self.connected_at is None or self.answered_at is None:
            return 0.0
        return self.answered_at - self.connected_at

    def as_hop(self) -> Hop:
        """The hop as the outcome carries it."""
        return Hop(
            url=self.url,
            method=self.method,
            verdict=self.verdict,
            via_proxy=self.via_proxy,
            addresses=tuple(self.addresses),
            peer=self.peer,
            is_reused=self.is_reused,
            status=self.status,
        )


CURRENT_HOP: ContextVar[HopRecord] = ContextVar("current_hop")
"""The hop of the running exchange: how resolver, socket factory and request, which aiohttp calls, find where to write."""


@dataclass(slots=True, kw_only=True)
class EvidenceLog:
    """All that one attempt does, hop by hop. `host` is the one asked for, None when the URL cannot be read.

    `received` is the response head of the running hop, from the moment that it is there. Exchanges about robots.txt are not
    among the hops: they are written into a log of their own, and `robots` is what came of the last one. `has_asked_robots` says
    that for it the origin itself was asked, just then.
    """

    host: str | None = None
    hops: list[HopRecord] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    robots: RobotsEvidence | None = None
    has_asked_robots: bool = False
    received: ResponseHead | None = None
    wire_bytes: int = 0
    decoded_bytes: int = 0
    started_at: float = field(default_factory=perf_counter)

    def open_hop(self, url: str, *, method: str = "GET") -> HopRecord:
        """Begin the next hop."""
        hop = HopRecord(url=url, method=method)
        self.hops.append(hop)
        self.received = None
        return hop

    def failed_evidence(self, *, exceeded: Budget | None = None) -> Evidence:
        """What happened up to now, of an attempt that has no response to keep: with what of one was received."""
        return self.evidence().model_copy(update={"exceeded": exceeded, "received": self.received})

    def evidence(self) -> Evidence:
        """What happened up to now; durations are summed over all hops, and the body's runs from the last response head."""
        now = perf_counter()
        last = self.hops[-1] if self.hops else None
        return Evidence(
            hops=tuple([hop.as_hop() for hop in self.hops]),
            robots=self.robots,
            dns_seconds=sum([hop.dns_seconds for hop in self.hops]),
            connect_seconds=sum([hop.connect_seconds for hop in self.hops]),
            first_byte_seconds=sum([hop.first_byte_seconds for hop in self.hops]),
            body_seconds=now - last.answered_at if last and last.answered_at else 0.0,
            total_seconds=now - self.started_at,
            tls_version=last.tls_version if last else None,
            wire_bytes=self.wire_bytes,
            decoded_bytes=self.decoded_bytes,
        )
