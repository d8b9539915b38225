"""The outbox: each event leaves with the tenant whose it is."""

from common.contracts.catalog import FETCH_FINISHED
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchFinished, FetchStatus
from common.ids import new_fetch_id
from common.streams.names import FEED_STREAM
from ledger_words import at
from redis.asyncio import Redis
from store.database import Connection, Pool, in_transaction
from store.metrics import StoreMetrics
from store.outbox.relay import Relay
from store.outbox.write import write_events


def _event() -> Envelope[FetchFinished]:
    data = FetchFinished(id=new_fetch_id(), url="http://a.test/", status=FetchStatus.FAILED, finished_at=at(0))
    return Envelope[FetchFinished].wrap(
        data, type=FETCH_FINISHED, source="store/t", subject=str(data.id), now=at(0), traceparent=None
    )


async def test_an_event_reaches_the_feed_beside_its_tenant(pool: Pool, events: Redis) -> None:
    told = [(_event(), "acme"), (_event(), "default"), (_event(), "acme")]

    async def work(connection: Connection) -> None:
        await write_events(connection, told, now=at(0))

    await in_transaction(pool, work)
    await Relay(pool=pool, redis=events, metrics=StoreMetrics()).run_once()
    feed = [(fields[b"event"].decode(), fields[b"tenant"].decode()) for _, fields in await events.xrange(FEED_STREAM)]
    assert feed == [(event.model_dump_json(exclude_none=True), tenant) for event, tenant in told]
