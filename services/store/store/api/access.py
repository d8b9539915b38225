"""Who may call the internal API, and what its routes may touch."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, HTTPException, Request
from redis.asyncio import Redis

from store.database import Pool
from store.dispatch.broker import BrokerState
from store.hosts.pace import PaceSettings
from store.metrics import StoreMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a route may use."""

    pool: Pool
    events: Redis
    source: str
    token: str
    upload_limit_bytes: int
    has_fetcher: Callable[[], bool]
    fleet: Callable[[], BrokerState]
    pace: PaceSettings
    metrics: StoreMetrics
    wake_dispatcher: Callable[[], None]
    wake_relay: Callable[[], None]


async def get_access(request: Request, authorization: Annotated[str, Header()] = "") -> Access:
    """The routes' means, for callers that know the service token; 401 for all others."""
    access: Access = request.app.state.access
    if not hmac.compare_digest(authorization.encode(), f"Bearer {access.token}".encode()):
        raise HTTPException(401, "the service token is missing or wrong")
    return access
