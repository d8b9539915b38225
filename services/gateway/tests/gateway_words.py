"""Names that the gateway's tests share."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import httpx2
from common.clock import Clock
from common.contracts.keys import KeyRecord, Scope
from common.streams.names import ACCEPTED_STREAM, STORE_GROUP
from redis.asyncio import Redis

from gateway.access.api_keys import ApiKey, make_key, new_key_id, new_secret
from gateway.access.key_ring import KeyRing
from gateway.access.key_use import KeyUseReporter
from gateway.metrics import GatewayMetrics
from gateway.store_client import StoreClient

KEY = "a-key-for-tests-only"


def assert_problem(answer: httpx2.Response, status: int, slug: str, *, is_traced: bool = True) -> dict[str, Any]:
    """The problem document of an answer, held to RFC 9457 and to our own registry. Tracing is set up in a process of its own."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}" and document["status"] == status
    assert document["title"] and document["detail"] and document["instance"].startswith("/")
    assert len(document["trace_id"] or "0" * 32) == 32 and (document["trace_id"] or not is_traced)
    return document


async def make_stream(events: Redis) -> None:
    """What a store does before anything is promised."""
    await events.xgroup_create(ACCEPTED_STREAM, STORE_GROUP, id="0", mkstream=True)


def new_key() -> ApiKey:
    """A key that nobody knows yet."""
    return make_key(new_key_id(), new_secret(), environment="test")


def key_record(key: ApiKey, *, scopes: frozenset[Scope] = frozenset(Scope), now: datetime, **members: Any) -> KeyRecord:
    """What the store would keep of a key."""
    known: dict[str, Any] = {"tenant": "acme", "name": "a key", "created_at": now, "created_by": "key:first", "revision": 0}
    return KeyRecord(**known | {"id": key.id, "digest": key.digest, "scopes": scopes} | members)


def key_parts(
    store: StoreClient, *, clock: Clock, metrics: GatewayMetrics, poll_seconds: float = 25, lookups_limit: int = 5
) -> Mapping[str, Any]:
    """The parts of `Means` that know keys. Without `KeyRing.run` they know none."""
    ring = KeyRing(
        store,
        clock=clock,
        poll_seconds=poll_seconds,
        stale_limit_seconds=3600,
        lookups_limit=lookups_limit,
        metrics=metrics,
    )
    return {"key_ring": ring, "key_uses": KeyUseReporter(store, clock=clock), "key_environment": "test"}


async def until(condition: Callable[[], Any], *, seconds: float = 10) -> None:
    """Wait for what another task or process brings about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
