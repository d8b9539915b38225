"""The two doors of the ledger over a real Postgres: accept and record, done once, twice, late and out of order."""

import hashlib
from collections import Counter
from typing import Any
from uuid import UUID

import zstandard
from common.contracts.envelope import Envelope
from common.contracts.fetches import BodyReference, ErrorType, FetchAttempted, FetchesAccepted, FetchStatus
from common.contracts.views import FetchView, WaitingReason
from common.ids import new_fetch_id
from ledger_words import PACE, accept_events, accepted, at, attempted, claim_each, failed, fetched
from store.contents.read import read_content
from store.contents.upload import upload_content
from store.database import Connection, Pool, fetch_rows, in_transaction
from store.dispatch.claim import Lease
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import abandon
from store.fetches.read import read_fetch
from store.fetches.record import Attempt, Recorded, record

LEASE = Lease(margin_seconds=10, abandon_after_dispatches=3)
BODY = b"hello, world\n" * 100


async def _accept(pool: Pool, *events: Envelope[FetchesAccepted]) -> int:
    return (await accept_events(pool, *events, now=at(0))).count


async def _record(pool: Pool, *attempts: FetchAttempted, body: bytes | None = None, seconds: float = 1) -> Recorded:
    deliveries = [Attempt(attempted=attempt, body=body) for attempt in attempts]
    return await in_transaction(
        pool, lambda connection: record(connection, deliveries, source="store/t", pace=PACE, now=at(seconds), jitter=lambda: 1.0)
    )


async def _running(pool: Pool, **request: Any) -> UUID:
    """A fetch that is accepted and dispatched once."""
    event = accepted(**request)
    await _accept(pool, event)
    claimed = await claim_each(pool, limit=10, leased_limit=100, lease=LEASE, pace=PACE, now=at(0))
    assert [fetch.command.id for fetch in claimed] == [event.data.fetches[0].id]
    return event.data.fetches[0].id


async def _view(pool: Pool, fetch_id: UUID, *, seconds: float = 1) -> FetchView:
    view = await read_fetch(pool, fetch_id, has_fetcher=True, now=at(seconds))
    assert view is not None
    return view


async def _count(pool: Pool, table: str) -> int:
    return int((await fetch_rows(pool, f"SELECT count(*) FROM {table}"))[0][0])  # noqa: S608


def _reference(*, is_inline: bool = True) -> tuple[BodyReference, bytes]:
    compressed = zstandard.compress(BODY)
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    return BodyReference(digest=digest, size_bytes=len(BODY), compressed_bytes=len(compressed), is_inline=is_inline), compressed


async def test_accepting_twice_is_accepting_once(pool: Pool) -> None:
    event = accepted(3)
    assert await _accept(pool, event) == 3
    assert await _accept(pool, event, accepted(1)) == 1
    assert await _count(pool, "fetches") == await _count(pool, "fetch_queue") == 4
    assert (await fetch_rows(pool, "SELECT sum(fetches) FROM fetch_counts WHERE name = 'accepted'"))[0][0] == 4


async def test_one_id_twice_in_one_set_is_one_fetch(pool: Pool) -> None:
    event = accepted(1)
    assert await _accept(pool, event, event) == 1


async def test_a_new_fetch_waits_in_the_queue_and_a_delayed_one_says_until_when(pool: Pool) -> None:
    now, later = accepted(1), accepted(1, delay_seconds=60)
    await _accept(pool, now, later)
    waiting = (await _view(pool, now.data.fetches[0].id)).waiting
    assert waiting is not None and waiting.reason is WaitingReason.QUEUE and waiting.until is None
    waiting = (await _view(pool, later.data.fetches[0].id)).waiting
    assert waiting is not None and waiting.reason is WaitingReason.DELAY and waiting.until == at(60)


async def test_a_fetch_without_fetchers_says_so(pool: Pool) -> None:
    event = accepted(1)
    await _accept(pool, event)
    view = await read_fetch(pool, event.data.fetches[0].id, has_fetcher=False, now=at(0))
    assert view is not None and view.waiting is not None and view.waiting.reason is WaitingReason.NO_FETCHER


async def test_a_success_is_kept_with_its_body_and_leaves_the_queue(pool: Pool) -> None:
    fetch_id = await _running(pool)
    reference, compressed = _reference()
    recorded = await _record(pool, attempted(fetch_id, fetched(body=reference)), body=compressed)
    assert recorded.finished.statuses == Counter(succeeded=1)
    view = await _view(pool, fetch_id)
    assert view.status is FetchStatus.SUCCEEDED and view.finished_at == at(1)
    assert view.response is not None and view.response.digest == reference.digest and view.response.size_bytes == len(BODY)
    assert view.response.headers == {"content-type": "text/plain", "vary": "a, b", "set-cookie": "x=1\ny=2, 3"}
    assert [attempt.number for attempt in view.attempts] == [1]
    stored = await read_content(pool, fetch_id)
    assert stored is not None and stored.content is not None
    assert zstandard.decompress(stored.content.body) == BODY
    assert await _count(pool, "fetch_queue") == 0
    assert await _count(pool, "outbox") == 1


async def test_recording_twice_changes_nothing(pool: Pool) -> None:
    fetch_id = await _running(pool)
    attempt = attempted(fetch_id, failed())
    await _record(pool, attempt)
    before = await fetch_rows(pool, "SELECT * FROM fetch_queue")
    again = await _record(pool, attempt, seconds=5)
    assert again == Recorded()
    assert await fetch_rows(pool, "SELECT * FROM fetch_queue") == before
    assert await _count(pool, "attempts") == 1


async def test_a_terminal_fetch_never_changes(pool: Pool) -> None:
    fetch_id = await _running(pool)
    await _record(pool, attempted(fetch_id, fetched(200)))
    before = await _view(pool, fetch_id)
    await _record(pool, attempted(fetch_id, fetched(404), dispatch_seq=2), seconds=9)
    await _record(pool, attempted(fetch_id, failed(is_retryable=False), dispatch_seq=3), seconds=9)
    after = await _view(pool, fetch_id)
    assert (after.status, after.finished_at, after.response) == (before.status, before.finished_at, before.response)
    assert await _count(pool, "outbox") == 1


async def test_a_retry_waits_and_keeps_its_reason_to_wait(pool: Pool) -> None:
    fetch_id = await _running(pool)
    recorded = await _record(pool, attempted(fetch_id, failed()))
    assert recorded.retries == 1 and recorded.finished.statuses == Counter()
    view = await _view(pool, fetch_id)
    assert view.status is FetchStatus.QUEUED
    assert view.waiting is not None and view.waiting.reason is WaitingReason.RETRY and view.waiting.until == at(2)


async def test_retries_are_counted_and_come_to_an_end(pool: Pool) -> None:
    fetch_id = await _running(pool, retries={"max": 1})
    assert (await _record(pool, attempted(fetch_id, failed()))).retries == 1
    assert len(await claim_each(pool, limit=1, leased_limit=100, lease=LEASE, pace=PACE, now=at(100))) == 1
    recorded = await _record(pool, attempted(fetch_id, failed(), dispatch_seq=2), seconds=101)
    assert (recorded.retries, recorded.finished.statuses) == (0, Counter(failed=1))


async def test_the_database_itself_keeps_a_terminal_status(pool: Pool) -> None:
    """Whatever a caller may think: finishing twice, with another status, changes nothing and tells nobody."""
    fetch_id = await _running(pool)
    await _record(pool, attempted(fetch_id, fetched(200)))

    async def finish_again(connection: Connection) -> Finished:
        return await finish_fetches(connection, [abandon(fetch_id, dispatches=5)], source="store/t", now=at(9))

    assert await in_transaction(pool, finish_again) == Finished()
    assert (await _view(pool, fetch_id)).status is FetchStatus.SUCCEEDED
    assert await _count(pool, "outbox") == 1


async def test_a_late_failure_does_not_disturb_the_newer_dispatch(pool: Pool) -> None:
    fetch_id = await _running(pool)
    assert len(await claim_each(pool, limit=1, leased_limit=100, lease=LEASE, pace=PACE, now=at(1000))) == 1
    recorded = await _record(pool, attempted(fetch_id, failed(), dispatch_seq=1), seconds=1001)
    assert recorded.retries == 0
    assert (await _view(pool, fetch_id, seconds=1001)).status is FetchStatus.RUNNING


async def test_a_late_success_counts(pool: Pool) -> None:
    fetch_id = await _running(pool)
    await claim_each(pool, limit=1, leased_limit=100, lease=LEASE, pace=PACE, now=at(1000))
    recorded = await _record(pool, attempted(fetch_id, fetched(), dispatch_seq=1), seconds=1001)
    assert recorded.finished.statuses == Counter(succeeded=1)


async def test_two_attempts_of_one_fetch_in_one_set_are_applied_in_order(pool: Pool) -> None:
    fetch_id = await _running(pool)
    recorded = await _record(pool, attempted(fetch_id, failed()), attempted(fetch_id, fetched(), dispatch_seq=2))
    assert recorded.finished.statuses == Counter(succeeded=1) and recorded.retries == 1
    assert await _count(pool, "fetch_queue") == 0


async def test_an_attempt_of_an_unknown_fetch_is_reported_and_its_neighbours_are_recorded(pool: Pool) -> None:
    fetch_id, stranger = await _running(pool), new_fetch_id()
    recorded = await _record(pool, attempted(stranger, fetched()), attempted(fetch_id, fetched()))
    assert recorded.unknown == {stranger} and recorded.finished.statuses == Counter(succeeded=1)


async def test_an_uploaded_body_is_found_by_its_digest(pool: Pool) -> None:
    fetch_id = await _running(pool)
    reference, compressed = _reference(is_inline=False)
    await upload_content(pool, reference.digest, compressed, size_bytes=len(BODY))
    recorded = await _record(pool, attempted(fetch_id, fetched(body=reference)))
    assert recorded.finished.statuses == Counter(succeeded=1)


async def test_a_response_whose_body_is_nowhere_is_tried_again(pool: Pool) -> None:
    fetch_id = await _running(pool, retries={"max": 0})
    reference, _ = _reference(is_inline=False)
    await _record(pool, attempted(fetch_id, fetched(body=reference)))
    view = await _view(pool, fetch_id)
    assert view.status is FetchStatus.FAILED
    assert view.error is not None and view.error.type is ErrorType.INTERNAL


async def test_one_body_fetched_twice_is_stored_once(pool: Pool) -> None:
    reference, compressed = _reference()
    for _ in range(2):
        await _record(pool, attempted(await _running(pool), fetched(body=reference)), body=compressed)
    assert await _count(pool, "contents") == 1
