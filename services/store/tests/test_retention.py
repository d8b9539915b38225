"""What is old enough is deleted, with all that belongs to it; what anybody refers to, or is about to, is not."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import zstandard
from common.contracts.batches import AcceptedBatch
from common.contracts.fetches import AcceptedFetch, BodyReference, FetchRequest
from common.ids import new_fetch_id
from common.streams.names import ATTEMPTED_STREAM, STORE_GROUP
from ledger_words import NOW, PACE, accept_events, accepted, at, attempted, claim_each, fetched, wrap_accepted
from redis.asyncio import Redis
from store.batches.keep import keep_batches
from store.batches.read import read_batch
from store.contents.keep import CONTENT_GRACE_SECONDS, Content, hold_contents, keep_contents
from store.contents.upload import upload_content
from store.database import Connection, Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record
from store.maintenance.content_pruner import ContentPruner, prune_contents
from store.maintenance.fetch_pruner import REST_SECONDS, FetchPruner, first_id
from store.metrics import StoreMetrics
from store.queries import query

DAY = 86_400.0
LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
BODY = b"a body that two fetches have"
DIGEST = hashlib.sha256(BODY).digest()
WAIT_SECONDS = 5
ROUNDS = 60


def _later(days: float) -> datetime:
    """So many days from now on: the ids of fetches tell the real time."""
    return datetime.now(UTC) + timedelta(days=days)


def _pruner(pool: Pool, *, retention_days: float = 1, limit: int = 100) -> FetchPruner:
    return FetchPruner(
        pool=pool,
        fetch_retention_seconds=retention_days * DAY,
        dead_letter_retention_seconds=retention_days * DAY,
        limit=limit,
        metrics=StoreMetrics(),
    )


async def _finish(pool: Pool, *ids: UUID, body: bytes = BODY, is_inline: bool = True) -> Recorded:
    """Claim what is due, and record a response with this body for each."""
    await claim_each(pool, limit=100, leased_limit=1000, lease=LEASE, pace=PACE, now=at(0))
    compressed = zstandard.compress(body)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    reference = BodyReference(digest=digest, size_bytes=len(body), compressed_bytes=len(compressed), is_inline=is_inline)
    attempts = [
        Attempt(attempted=attempted(identifier, fetched(body=reference)), body=compressed if is_inline else None)
        for identifier in ids
    ]
    return await in_transaction(
        pool, lambda connection: record(connection, attempts, source="store/t", pace=PACE, now=at(1), jitter=lambda: 1.0)
    )


async def _finished(pool: Pool, fetches: int = 1) -> list[UUID]:
    event = accepted(fetches)
    ids = [fetch.id for fetch in event.data.fetches]
    await accept_events(pool, event, now=at(0))
    await _finish(pool, *ids)
    return ids


async def _count(pool: Pool, table: str) -> int:
    return int((await fetch_rows(pool, f"SELECT count(*) FROM {table}"))[0][0])  # noqa: S608


async def test_finished_fetches_go_with_their_attempts_and_labels_and_pending_ones_stay(pool: Pool) -> None:
    labelled = AcceptedFetch(
        id=new_fetch_id(), host="a.test", accepted_at=NOW, request=FetchRequest(url="http://a.test/", labels=["x"])
    )
    await accept_events(pool, wrap_accepted([labelled]), now=at(0))
    await _finish(pool, labelled.id)
    [pending] = (accepted()).data.fetches
    await accept_events(pool, wrap_accepted([pending]), now=at(0))
    pruner = _pruner(pool)
    await pruner.run_once(_later(0))
    assert await _count(pool, "fetches") == 2, "none is old enough"
    await pruner.run_once(_later(2))
    assert await read_fetch(pool, labelled.id, has_fetcher=True) is None
    assert await read_fetch(pool, pending.id, has_fetcher=True) is not None
    assert (await _count(pool, "attempts"), await _count(pool, "fetch_labels")) == (0, 0)
    row = (await fetch_rows(pool, query("queue_conservation")))[0]
    assert (row["accepted"], row["finished"], row["pending"]) == (2, 1, 1), "what was counted stays counted"


async def test_nothing_is_pruned_by_default(pool: Pool) -> None:
    await _finished(pool, 3)
    assert await _pruner(pool, retention_days=0).run_once(_later(10_000)) == REST_SECONDS
    assert await _count(pool, "fetches") == 3


async def test_a_pass_is_bounded_and_the_walk_goes_past_what_stays(pool: Pool) -> None:
    [pending] = accepted().data.fetches
    later = wrap_accepted([pending.model_copy(update={"request": FetchRequest(url="http://a.test/", delay_seconds=3600)})])
    await accept_events(pool, later, now=at(0))
    await _finished(pool, 5)
    pruner, left = _pruner(pool, limit=2), []
    while await pruner.run_once(_later(2)) != REST_SECONDS:
        left.append(await _count(pool, "fetches"))
    assert left == [5, 3, 1], "the oldest is pending"


async def test_a_fetch_that_finished_late_is_kept_for_as_long(pool: Pool) -> None:
    [identifier] = await _finished(pool)
    async with pool.acquire() as connection:
        await connection.execute("UPDATE fetches SET finished_at = $1", _later(5))
    await _pruner(pool).run_once(_later(5.5))
    assert await read_fetch(pool, identifier, has_fetcher=True) is not None


async def test_a_batch_counts_right_until_its_last_fetch_is_gone(pool: Pool) -> None:
    batch_id = new_fetch_id()
    event = accepted(3)
    fetches = [fetch.model_copy(update={"batch_id": batch_id}) for fetch in event.data.fetches]
    batch = AcceptedBatch(
        id=batch_id, tenant="default", key_id=None, accepted_at=NOW, accepted=3, rejected=0, errors=(), is_whole=True
    )
    await accept_events(pool, wrap_accepted(fetches), now=at(0))
    await in_transaction(pool, lambda connection: keep_batches(connection, [batch]))
    await _finish(pool, *(fetch.id for fetch in fetches))
    pruner = _pruner(pool, limit=2)
    await pruner.run_once(_later(2))
    view = await read_batch(pool, batch_id, tenant="default")
    assert view is not None and (view.total, view.counts.succeeded, view.finished) == (3, 3, True)
    assert await _count(pool, "fetches") == 1
    while await pruner.run_once(_later(2)) != REST_SECONDS:
        pass
    await pruner.run_once(_later(2))
    assert await read_batch(pool, batch_id, tenant="default") is None
    assert await _count(pool, "batch_counts") == 0


async def test_counts_of_a_batch_that_never_came_are_forgotten(pool: Pool) -> None:
    [fetch] = accepted().data.fetches
    await accept_events(pool, wrap_accepted([fetch.model_copy(update={"batch_id": new_fetch_id()})]), now=at(0))
    await _finish(pool, fetch.id)
    assert await _count(pool, "batch_counts") == 1
    await _pruner(pool).run_once(_later(2))
    assert await _count(pool, "batch_counts") == 0


async def test_dead_letters_have_a_retention_of_their_own(pool: Pool) -> None:
    for number in range(3):
        await fetch_rows(pool, query("dead_letters_insert"), "s", f"1-{number}", b"e", None, "r")
    await _pruner(pool).run_once(_later(0))
    assert await _count(pool, "dead_letters") == 3
    await _pruner(pool).run_once(_later(2))
    assert await _count(pool, "dead_letters") == 0


async def test_a_content_goes_when_no_fetch_refers_to_it_and_not_before(pool: Pool, events: Redis) -> None:
    first, _second = await _finished(pool, 2)
    metrics = StoreMetrics()
    contents = ContentPruner(pool=pool, redis=events, limit=10, metrics=metrics)
    await contents.run_once(_later(2))  # its first round begins an hour after
    await _delete(pool, first)
    await contents.run_once(_later(3))
    assert await _count(pool, "contents") == 1, "the other refers to it"
    await _pruner(pool).run_once(_later(3))
    await contents.run_once(_later(4))
    assert await _count(pool, "contents") == 0
    assert metrics.registry.get_sample_value("fetchwork_pruned_total", {"what": "contents"}) == 1


async def test_an_upload_waits_as_long_as_outcomes_wait_in_the_stream(pool: Pool, events: Redis) -> None:
    await upload_content(pool, f"sha256:{DIGEST.hex()}", zstandard.compress(BODY), size_bytes=len(BODY))
    entry = await events.xadd(ATTEMPTED_STREAM, {"event": b"an outcome that no store has taken yet"})
    await events.xgroup_create(ATTEMPTED_STREAM, STORE_GROUP, id="0")
    contents = ContentPruner(pool=pool, redis=events, limit=10, metrics=StoreMetrics())
    for days in (2, 3):
        await contents.run_once(_later(days))
    assert await _count(pool, "contents") == 1
    await events.xreadgroup(STORE_GROUP, "store", {ATTEMPTED_STREAM: ">"})
    await contents.run_once(_later(4))
    assert await _count(pool, "contents") == 1, "taken, and not recorded"
    await events.xack(ATTEMPTED_STREAM, STORE_GROUP, entry)
    await contents.run_once(_later(5))
    assert await _count(pool, "contents") == 0


async def test_an_upload_waits_an_hour_for_its_outcome_and_an_hour_again_when_it_is_repeated(pool: Pool, events: Redis) -> None:
    await upload_content(pool, f"sha256:{DIGEST.hex()}", zstandard.compress(BODY), size_bytes=len(BODY))
    hour = CONTENT_GRACE_SECONDS / DAY

    async def prune(days: float) -> int:
        contents = ContentPruner(pool=pool, redis=events, limit=10, metrics=StoreMetrics())
        await contents.run_once(_later(days - 1))
        await contents.run_once(_later(days))
        return await _count(pool, "contents")

    assert await prune(hour / 2) == 1
    async with pool.acquire() as connection:
        await connection.execute("UPDATE contents SET created_at = $1", _later(-1))
    await upload_content(pool, f"sha256:{DIGEST.hex()}", zstandard.compress(BODY), size_bytes=len(BODY))
    assert await prune(hour / 2) == 1, "handed in again just now"
    assert await prune(2 * hour) == 0


async def test_a_content_that_somebody_is_about_to_refer_to_is_left_alone(pool: Pool, database_url: str) -> None:
    [identifier] = await _finished(pool)
    await _delete(pool, identifier)
    writer = await asyncpg.connect(database_url)
    async with writer.transaction():
        assert await hold_contents(writer, [DIGEST]) == {DIGEST}
        assert await _prune_contents(pool) == 0, "and without waiting"
    await writer.close()
    assert await _prune_contents(pool) == 1


@pytest.mark.parametrize("is_inline", [True, False])
async def test_an_outcome_that_comes_while_its_content_is_pruned_is_kept_or_tried_again(pool: Pool, is_inline: bool) -> None:
    """The other order: the pruner has the row, and the outcome that has the same body waits for it."""
    [old] = await _finished(pool)
    await _delete(pool, old)
    event = accepted()
    await accept_events(pool, event, now=at(0))
    async with pool.acquire() as connection, connection.transaction():
        assert await prune_contents(connection, [DIGEST], horizon=_later(1)) == 1
        recording = asyncio.create_task(_finish(pool, event.data.fetches[0].id, is_inline=is_inline))
        await _wait_until_blocked(pool)
    recorded = await recording
    if is_inline:
        assert recorded.finished.statuses == {"succeeded": 1}
        assert await _count(pool, "contents") == 1
    else:
        assert recorded.retries == 1, "its body is nowhere: the fetch is made once more"


async def test_a_response_that_answers_a_new_fetch_is_not_pruned_under_it(pool: Pool, database_url: str) -> None:
    request = {"max_age_seconds": 10**6}
    first = accepted(**request)
    await accept_events(pool, first, now=at(0))
    await _finish(pool, first.data.fetches[0].id)
    again = accepted(**request)
    accepting = asyncpg.connect(database_url)
    connection = await accepting
    async with connection.transaction():
        rows = await connection.fetch(query("reuse_stored"), [first.data.fetches[0].id])
        assert len(rows) == 1
        await _pruner(pool).run_once(_later(2))
        assert await _count(pool, "fetches") == 1, "somebody is about to be answered from it"
    await connection.close()
    assert (await accept_events(pool, again, now=at(2))).finished.reused == {"cache": 1}
    await _delete(pool, first.data.fetches[0].id)
    view = await read_fetch(pool, again.data.fetches[0].id, has_fetcher=True)
    assert view is not None and view.response is not None and view.response.digest is not None
    assert view.served_by is not None and view.served_by.fetch_id == first.data.fetches[0].id
    assert await _prune_contents(pool) == 0, "its answer goes on to have the content"


async def test_a_stored_response_that_was_pruned_answers_nobody(pool: Pool) -> None:
    request = {"max_age_seconds": 10**6}
    first, again = accepted(**request), accepted(**request)
    await accept_events(pool, first, now=at(0))
    await _finish(pool, first.data.fetches[0].id)
    await _pruner(pool).run_once(_later(2))
    assert (await accept_events(pool, again, now=at(2))).finished.reused == {}
    assert await _count(pool, "fetch_queue") == 1


async def test_keeping_and_pruning_the_same_contents_at_once_never_fails(pool: Pool) -> None:
    """What a writer kept is there when it commits, though it was old and unused when the pruner looked."""
    bodies = {hashlib.sha256(bytes([n])).digest(): Content(size_bytes=1, body=zstandard.compress(bytes([n]))) for n in range(5)}

    async def keep(connection: Connection) -> None:
        await keep_contents(connection, bodies, now=None)
        kept = await connection.fetch("SELECT digest FROM contents WHERE digest = ANY($1)", list(bodies))
        assert len(kept) == len(bodies)

    horizon, pruned = _later(-1), 0
    await in_transaction(pool, keep)
    for _ in range(ROUNDS):
        await fetch_rows(pool, "UPDATE contents SET created_at = $1", _later(-2))
        writers = [in_transaction(pool, keep) for _ in range(3)]
        pruning = in_transaction(pool, lambda connection: prune_contents(connection, list(bodies), horizon=horizon))
        *_, count = await asyncio.gather(*writers, pruning)
        pruned += count
    assert pruned > 0


def test_an_id_of_a_moment_is_not_above_those_made_then() -> None:
    identifier = new_fetch_id()
    made_at = datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)
    assert first_id(made_at) <= identifier < first_id(made_at + timedelta(milliseconds=1))


async def _delete(pool: Pool, identifier: UUID) -> None:
    await fetch_rows(pool, "DELETE FROM fetches WHERE id = $1", identifier)


async def _prune_contents(pool: Pool, *digests: bytes) -> int:
    chosen = list(digests) or [DIGEST]
    return await in_transaction(pool, lambda connection: prune_contents(connection, chosen, horizon=_later(1)))


async def _wait_until_blocked(pool: Pool) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await fetch_rows(pool, "SELECT FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
