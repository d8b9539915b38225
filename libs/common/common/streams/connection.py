"""Open Redis connections with every timeout and retry chosen on purpose.

redis-py 8 retries ten times and times out after 5 s by default: ten retries would hold an HTTP request for a minute,
and a 5 s socket timeout would cut a blocking stream read.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 10.0
POOL_TIMEOUT_SECONDS = 2.0
"""How long a caller waits for a free connection before it fails with a connection error."""
BLOCK_MILLISECONDS = 2000
"""How long one blocking stream read may wait; must stay well below READ_TIMEOUT_SECONDS."""

_STATE = "db.client.connection.state"
"""By which redis-py tells connections apart (OpenTelemetry semantic conventions, database client metrics)."""


class _HonestSending(AbstractConnection):
    """Sending that ends as its callers must know it.

    What uvloop says of a connection that the peer has closed is no OSError (its issue 506), so that redis-py would let it
    through to callers who expect Redis' own errors, and would not try again either.

    redis-py sends under `asyncio.wait_for`, which before Python 3.12 returns as if nothing had been when its task is cancelled
    in the same turn of the loop (CPython issue 86296): a loop that was told to end would go on for ever.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        try:
            await super().send_packed_command(command, check_health=check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error
        if task and task.cancelling() > cancels:
            await self.disconnect(nowait=True)
            raise asyncio.CancelledError


class _PlainConnection(_HonestSending, Connection):
    pass


class _TLSConnection(_HonestSending, SSLConnection):
    pass


def connect_redis(url: str, *, timeout_seconds: float = READ_TIMEOUT_SECONDS, max_connections: int = 64) -> Redis:
    """A lazy client over a pool. One retry, only of a broken connection (a stale pooled one); never of a timeout."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=POOL_TIMEOUT_SECONDS,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    pool.connection_class = _TLSConnection if pool.connection_class is SSLConnection else _PlainConnection
    return Redis.from_pool(pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """The open connections of one client now, and how many it may open."""

    in_use: int
    idle: int
    limit: int


def connections_of(redis: Redis) -> Connections:
    """The connections of a client that `connect_redis` made. Safe for any thread: it only counts."""
    pool = redis.connection_pool
    counts = {attributes[_STATE]: count for count, attributes in pool.get_connection_count()}
    return Connections(in_use=counts["used"], idle=counts["idle"], limit=pool.max_connections)
