"""Case 28: poison in the streams. It is parked with its bytes, what came beside it is stored, and the stream goes on."""

import random
from collections.abc import Sequence

from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM
from harness.checker import Allowance, assert_kept
from harness.cluster import Cluster
from harness.load import Load, open_load
from harness.messages import accepted_fetch, append, as_bytes, attempted, envelope
from harness.metrics import metric
from harness.waiting import meet_hosts, wait_for
from redis.asyncio import Redis

NEIGHBOURS = 12
HELD_TIMEOUT_SECONDS = 10.0
BIG_BODY_BYTES = 3 * 1024 * 1024
ACCEPTED, ATTEMPTED = "fetch.accepted.v1", "fetch.attempted.v1"
FETCHED = {"kind": "fetched", "response": {"status": 200, "final_url": "http://127.9.0.3/"}}
Poison = tuple[bytes, bytes | None]


def _poison(kind: str, rng: random.Random, *, right: object) -> list[Poison]:
    """What no handler of either stream can read. `right` is data that it could."""
    return [
        (rng.randbytes(200), None),
        (b"\x00" + rng.randbytes(20), rng.randbytes(BIG_BODY_BYTES)),
        (b"", None),
        (as_bytes(envelope(right, type=kind))[:-20], None),
        (as_bytes(envelope(["of", "another", "shape"], type=kind)), None),
        (as_bytes(envelope(right, type=kind.replace("v1", "v2"))), rng.randbytes(10)),
        (as_bytes(envelope(right, type="fetch.forgotten.v1")), None),
        (b"[" * 100_000, None),
    ]


async def _parked(cluster: Cluster, stream: str) -> dict[str, tuple[bytes, bytes | None]]:
    async with cluster.database() as connection:
        rows = await connection.fetch("SELECT entry_id, event, body FROM dead_letters WHERE stream = $1", stream)
    return {row["entry_id"]: (row["event"], row["body"]) for row in rows}


async def _added(events: Redis) -> int:
    """Outcomes that were ever appended, trimmed ones too."""
    return int((await events.xinfo_stream(ATTEMPTED_STREAM))["entries-added"])


async def _append_all(cluster: Cluster, stream: str, poison: Sequence[Poison]) -> dict[str, Poison]:
    async with cluster.redis("events") as events:
        return {await append(events, stream, event, body): (event, body) for event, body in poison}


async def _assert_parked(cluster: Cluster, load: Load, stream: str, appended: dict[str, Poison], *, failed: int = 0) -> None:
    findings = await assert_kept(cluster, load, allow=Allowance(dead_letters=len(appended)))
    assert await _parked(cluster, stream) == appended
    assert await metric(cluster, "store", "fetchwork_dead_letters_total", stream=stream) == len(appended)
    assert findings.statuses["succeeded"] == len(load.submitted)
    assert findings.statuses["failed"] == failed


async def test_case_28_poison_among_accepted_fetches_is_parked_and_its_neighbours_are_stored(
    cluster: Cluster, rng: random.Random
) -> None:
    host = cluster.origin.address
    right = {"fetches": [accepted_fetch("http://127.9.0.3/", host=host)]}
    refused = [accepted_fetch(f"http://{host}/with\0nul", host=host), accepted_fetch(f"http://{host}/", host="nul\0")]
    poison = _poison(ACCEPTED, rng, right=right)
    poison += [(as_bytes(envelope({"fetches": [fetch]}, type=ACCEPTED)), None) for fetch in refused]
    rng.shuffle(poison)
    async with open_load(cluster, prefix="c28a") as load:
        cluster.kill("store", stays_down=True)
        appended: dict[str, Poison] = {}
        for one in poison:
            await load.submit_many(2)
            appended |= await _append_all(cluster, ACCEPTED_STREAM, [one])
        cluster.start("store")
        await load.submit_many(NEIGHBOURS)
        await _assert_parked(cluster, load, ACCEPTED_STREAM, appended, failed=len(refused))
    async with cluster.database() as connection:
        rows = await connection.fetch("SELECT id::text, error_type FROM fetches WHERE status = 'failed'")
    assert {row["id"]: row["error_type"] for row in rows} == {fetch["id"]: "internal" for fetch in refused}


async def test_case_28_poison_among_attempts_is_parked_and_its_neighbours_are_stored(
    cluster: Cluster, rng: random.Random
) -> None:
    async with open_load(cluster, prefix="c28b") as load:
        await meet_hosts(cluster, load)
        async with cluster.redis("events") as events:
            before = await _added(events)
        with cluster.origin.holding():
            ids = await load.submit_many(NEIGHBOURS, timeout_seconds=HELD_TIMEOUT_SECONDS)
            tokens = list(load.submitted)

            async def all_asked() -> bool:
                hits = cluster.origin.hits()
                return all(token in hits for token in tokens)

            await wait_for("every fetch at the origin", all_asked)
            cluster.kill("store", stays_down=True)
        unknown = attempted(str(new_fetch_id()), FETCHED)
        poison = _poison(ATTEMPTED, rng, right=attempted(ids[0], FETCHED))
        poison += [
            (as_bytes(envelope(unknown, type=ATTEMPTED)), rng.randbytes(BIG_BODY_BYTES)),
            (as_bytes(envelope(attempted(ids[1], FETCHED, dispatch_seq="\0"), type=ATTEMPTED)), None),
            (as_bytes(envelope(attempted(ids[2], FETCHED, dispatch_seq=2**40), type=ATTEMPTED)), None),
            (as_bytes(envelope(attempted(ids[3], {"kind": "unheard_of"}), type=ATTEMPTED)), None),
        ]
        rng.shuffle(poison)
        appended = await _append_all(cluster, ATTEMPTED_STREAM, poison)
        async with cluster.redis("events") as events:

            async def all_reported() -> bool:
                return await _added(events) >= before + NEIGHBOURS + len(poison)

            await wait_for("every outcome in the stream", all_reported)
        cluster.start("store")
        await load.submit_many(NEIGHBOURS)
        await _assert_parked(cluster, load, ATTEMPTED_STREAM, appended)
