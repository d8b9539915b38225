"""Tickets: what lets a browser read the feed, whose `EventSource` can send no header and must put no API key into a URL.

A ticket is a random number that stands for its maker's tenant and key, opens `GET /v1/events` alone, and expires. Redis
knows only its digest. URLs end up in logs: what opens more than the feed of one tenant for an hour must not be in one.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from common.contracts.keys import Scope
from common.streams.names import TICKET_KEY_PREFIX
from starlette.types import Scope as RequestScope

from gateway.access.stand_ins import StandIns
from gateway.errors import FeedUnavailable
from gateway.principal import Principal

FEED_PATH = "/v1/events"
PARAMETER = "ticket"
READER = frozenset({Scope.FETCH_READ})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A ticket as its maker is told it, once."""

    secret: str
    expires_at: datetime


class Tickets(StandIns):
    """Tickets of all gateways. Every method raises FeedUnavailable while the events Redis is away."""

    prefix, called, scopes, failure = TICKET_KEY_PREFIX, "tickets", READER, FeedUnavailable

    async def make(self, principal: Principal, *, now: datetime) -> Ticket:
        """A new ticket for a caller. Raises the problem quota-exceeded where its key has made too many of late."""
        secret = await self.make_secret(principal)
        return Ticket(secret=secret, expires_at=now + timedelta(seconds=self.ttl_seconds))


def carries_ticket(scope: RequestScope) -> bool:
    """Whether a request has a ticket in its query, so that its URL must not be told to anyone."""
    return PARAMETER in _query(scope)


def feed_ticket(scope: RequestScope) -> str | None:
    """The one ticket of a request for the feed that comes without a key."""
    if scope["method"] != "GET" or scope["path"] != FEED_PATH or any(name == b"authorization" for name, _ in scope["headers"]):
        return None
    given = _query(scope).get(PARAMETER, [])
    return given[0] if len(given) == 1 else None


def _query(scope: RequestScope) -> dict[str, list[str]]:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
