"""Backlogs for the frontier simulator: which hosts have how many fetches, and how these get into the tables quickly."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import asyncpg
from common.contracts.fetches import FetchRequest

FILL_TIMEOUT_SECONDS = 900
HOT_SHARE = 0.1
"""Of all fetches, on one host."""
LARGE_FETCHES = 20

FILL = """
WITH made AS (
    INSERT INTO fetches (id, host, request, accepted_at, ingested_at)
    SELECT uuidv7(), host,
           $3::jsonb || jsonb_build_object('url', 'http://' || host || '/' || n, 'priority', abs(hashtext(host || n)) % 10),
           $4, $4
    FROM unnest($1::text[], $2::integer[]) AS given (host, size)
    CROSS JOIN LATERAL generate_series(1, size) AS n
    ORDER BY hashtext(n || host)
    RETURNING id, host, (request ->> 'priority')::smallint AS priority
)
INSERT INTO fetch_queue (id, host, run_at, rank_at, priority, waiting, timeout_seconds)
SELECT id, host, $4, $4 - make_interval(secs => priority * $5::float8), priority, 'queue', 30
FROM made
"""
FILL_HOSTS = "INSERT INTO hosts (host, look_at) SELECT host, $2 FROM unnest($1::text[]) AS host"


def host_name(number: int) -> str:
    """The host of that number."""
    return f"h{number:07}.test"


def hot_host(hosts: int) -> str:
    """The host that a skewed backlog has most of; neither the first nor the last in any order of names."""
    return host_name(hosts // 2)


def equal_sizes(fetches: int, hosts: int) -> dict[str, int]:
    """As many on each host."""
    return {host_name(number): fetches // hosts for number in range(hosts)}


def skewed_sizes(fetches: int, hosts: int) -> dict[str, int]:
    """One hot host with a tenth of all; on the others at least one each, and the rest by Zipf's law."""
    hot = hot_host(hosts)
    names = [name for number in range(hosts) if (name := host_name(number)) != hot]
    left = fetches - round(fetches * HOT_SHARE) - len(names)
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    unit = left / sum(weights)
    sizes = {name: 1 + int(weight * unit) for name, weight in zip(names, weights, strict=True)}
    return sizes | {hot: fetches - sum(sizes.values())}


def large_hosts(sizes: Mapping[str, int]) -> frozenset[str]:
    """Those with so many fetches that a drain would end with them alone, were they dead."""
    return frozenset(name for name, size in sizes.items() if size > LARGE_FETCHES)


async def fill(url: str, sizes: Mapping[str, int], *, now: datetime, priority_step_seconds: float) -> None:
    """All fetches due at `now`, in no order of hosts, each with a priority; and the statistics that autovacuum would gather."""
    template = FetchRequest(url="http://a.test/").model_dump_json()
    connection = await asyncpg.connect(url, timeout=10)
    try:
        filled = (list(sizes), list(sizes.values()), template, now, priority_step_seconds)
        await connection.execute(FILL, *filled, timeout=FILL_TIMEOUT_SECONDS)
        await connection.execute(FILL_HOSTS, list(sizes), now - timedelta(seconds=1), timeout=FILL_TIMEOUT_SECONDS)
        await connection.execute("VACUUM (ANALYZE) fetches, fetch_queue, hosts", timeout=FILL_TIMEOUT_SECONDS)
        await connection.execute("CHECKPOINT", timeout=FILL_TIMEOUT_SECONDS)
    finally:
        await connection.close()


async def fresh_database(server_url: str, name: str) -> str:
    """An empty database of that name, in the place of any other; returns its URL."""
    connection = await asyncpg.connect(server_url, timeout=10)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", timeout=60)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0", timeout=60)
    finally:
        await connection.close()
    return server_url.rsplit("/", 1)[0] + "/" + name
