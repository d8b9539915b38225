"""The checker itself: each of its rules is broken here by hand, and it says so. A healthy system breaks none."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from common.streams.names import FEED_STREAM
from harness.checker import Allowance, check
from harness.cluster import Cluster
from harness.journal import Promise
from harness.load import Load, open_load

COUNT = 20
CONNECTIONS = 30
NOBODY = "00000000-0000-7000-8000-000000000000"


async def _lose_a_promise(cluster: Cluster, load: Load, identifier: str) -> None:
    load.journal.write(Promise(token="never", id=NOBODY, sent_at=0.0, received_at=0.0))


async def _store_a_foreign_body(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute(
            "UPDATE fetches SET content_digest = (SELECT digest FROM contents WHERE digest <> content_digest LIMIT 1)"
            " WHERE id = $1::uuid",
            identifier,
        )


async def _end_twice(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("INSERT INTO witness.endings (id) VALUES ($1::uuid)", identifier)


async def _change_what_is_terminal(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("UPDATE fetches SET finished_at = now() WHERE id = $1::uuid", identifier)


async def _leave_something_queued(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.redis("events") as events:
        await events.hset("fetchwork:v1:ingesting", NOBODY, "0-1")


async def _fetch_without_a_dispatch(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("UPDATE witness.dispatches SET dispatch_seq = 0 WHERE id = $1::uuid", identifier)


async def _send_a_post_twice(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("UPDATE witness.dispatches SET dispatch_seq = 2 WHERE id = $1::uuid", identifier)
        url = await connection.fetchval(
            "UPDATE fetches SET request = request || '{\"method\": \"POST\"}' WHERE id = $1::uuid RETURNING request ->> 'url'",
            identifier,
        )
    with cluster.origin.log.open("a", encoding="ascii") as log:
        log.write(f"{url.rpartition('/')[2]} {'0' * 64} {time.time():.6f}\n")


async def _count_wrongly(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("UPDATE fetch_counts SET fetches = fetches + 1 WHERE name = 'accepted'")


async def _keep_another_body(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute(
            "UPDATE contents SET (size_bytes, compressed_bytes, body) = (SELECT size_bytes, compressed_bytes, body"
            " FROM contents AS other WHERE other.digest <> contents.digest LIMIT 1)"
            " WHERE digest = (SELECT min(digest) FROM contents)"
        )


async def _announce_nothing(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.database() as connection:
        await connection.execute("DELETE FROM witness.announcements WHERE event::json ->> 'subject' = $1", identifier)


async def _tell_nobody(cluster: Cluster, load: Load, identifier: str) -> None:
    async with cluster.redis("events") as events:
        await events.xtrim(FEED_STREAM, maxlen=0, approximate=False)


BREAKS: Sequence[tuple[Callable[[Cluster, Load, str], Awaitable[None]], str]] = (
    (_lose_a_promise, "I1: .* was promised and is not in the ledger"),
    (_store_a_foreign_body, "I2: .* has a body that was never served for it"),
    (_keep_another_body, "I2: the body kept as .* is another"),
    (_announce_nothing, "I2: .* was announced 0 times"),
    (_tell_nobody, "I2: .* is not on the feed"),
    (_end_twice, "I2: .* became terminal 2 times"),
    (_change_what_is_terminal, "I3: .* succeeded became succeeded"),
    (_leave_something_queued, "I4: .*ingesting still holds 1"),
    (_fetch_without_a_dispatch, "I5: .* was requested 1 times and given out 0 times"),
    (_send_a_post_twice, "I5: .* may be sent once only and was requested 2 times"),
    (_count_wrongly, "I7: .* fetches were counted in"),
)


@pytest.mark.quick
async def test_a_healthy_system_breaks_no_rule_and_each_rule_can_be_broken(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="healthy") as load:
        identifier, other = (await load.submit_many(COUNT))[:2]
        findings = await check(cluster, load)
        assert (findings.breaches, findings.statuses) == ([], {"succeeded": COUNT})
        assert findings.hits == COUNT
        window = Allowance(no_promise_windows=[(0.0, load.journal.promises()[-1].received_at + 1)])
        assert (await check(cluster, load, allow=window)).names() == {"I6"}
        for break_it, sentence in BREAKS:
            await break_it(cluster, load, identifier if "I3" not in sentence else other)
            breaches = (await check(cluster, load, quiet_seconds=0.5)).breaches
            assert any(re.match(sentence, breach) for breach in breaches), f"not seen: {sentence}"
        async with AsyncExitStack() as connections:
            for _ in range(CONNECTIONS):
                await connections.enter_async_context(cluster.database())
            assert "I9" in (await check(cluster, load, quiet_seconds=0.5)).names()
