"""Tickets: what lets a browser read the feed, whose `EventSource` can send no header and must put no API key into a URL.

A ticket is a random number that stands for its maker's tenant and key, opens `GET /v1/events` alone, and expires. Redis
knows only its digest. URLs end up in logs: what opens more than the feed of one tenant for an hour must not be in one.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from common.contracts.envelope import Message
from common.contracts.keys import Scope
from common.contracts.tenants import KeyId, Tenant
from common.streams.names import TICKET_KEY_PREFIX
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import Scope as RequestScope

from gateway.errors import FeedUnavailable
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType

TICKET_BYTES = 32
FEED_PATH = "/v1/events"
PARAMETER = "ticket"
READER = frozenset({Scope.FETCH_READ})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A ticket as its maker is told it, once."""

    secret: str
    expires_at: datetime


class _Holder(Message):
    tenant: Tenant
    key_id: KeyId | None
    actor: str
    digest: str


class Tickets:
    """Tickets of all gateways, in the events Redis. Every method raises FeedUnavailable while that is away."""

    def __init__(self, redis: Redis, *, ttl_seconds: int, per_key_limit: int) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._per_key_limit = per_key_limit

    async def make(self, principal: Principal, *, now: datetime) -> Ticket:
        """A new ticket for a caller. Raises the problem quota-exceeded where its key has made too many of late."""
        secret = secrets.token_urlsafe(TICKET_BYTES)
        caller = {name: getattr(principal, name) for name in _Holder.model_fields}
        holder = _Holder(**caller)
        made = f"{TICKET_KEY_PREFIX}made:{principal.actor}"
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(made)
                pipeline.expire(made, self._ttl_seconds, nx=True)
                count, _ = await pipeline.execute()
            if count > self._per_key_limit:
                detail = f"This key has made {self._per_key_limit} tickets within {self._ttl_seconds} seconds; use those."
                raise Problem(ProblemType.QUOTA_EXCEEDED, detail)
            await self._redis.set(_key(secret), holder.model_dump_json(), ex=self._ttl_seconds)
        except (RedisError, OSError) as error:
            raise FeedUnavailable(type(error).__name__) from error
        return Ticket(secret=secret, expires_at=now + timedelta(seconds=self._ttl_seconds))

    async def find_holder(self, secret: str) -> Principal | None:
        """Who may read the feed with this ticket: its maker, with no scope but that; None when it is unknown or has expired."""
        try:
            found = await self._redis.get(_key(secret))
        except (RedisError, OSError) as error:
            raise FeedUnavailable(type(error).__name__) from error
        if found is None:
            return None
        holder = _Holder.model_validate_json(found)
        return Principal(**dict(holder), scopes=READER)


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


def _key(secret: str) -> str:
    return TICKET_KEY_PREFIX + hashlib.sha256(secret.encode()).hexdigest()
