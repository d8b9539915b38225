"""A store's ingest loops, for tests that feed them."""

from common.streams.consumer import StreamMember
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, STORE_GROUP
from ledger_words import PACE
from redis.asyncio import Redis
from store.consumer import Ingest
from store.database import Pool
from store.handlers import AcceptHandler, RecordHandler
from store.metrics import StoreMetrics

NOT_YET_MS = 60_000


class Bench:
    """One store's accept and record loops over a real Redis and a real Postgres."""

    def __init__(self, redis: Redis, pool: Pool, *, name: str = "store-0", takeover_idle_ms: int = NOT_YET_MS) -> None:
        self.metrics = StoreMetrics()
        self.woken = 0
        accept_handler = AcceptHandler(
            metrics=self.metrics,
            source="store/t",
            coalesce_wait_seconds=30,
            priority_step_seconds=600,
            wake_dispatcher=self._wake,
            wake_relay=self._wake,
        )
        record_handler = RecordHandler(
            metrics=self.metrics,
            source="store/t",
            pace=PACE,
            jitter=lambda: 1.0,
            wake_dispatcher=self._wake,
            wake_relay=self._wake,
        )
        self.accept_member = StreamMember(redis, stream=ACCEPTED_STREAM, group=STORE_GROUP, name=name, count=10, block_ms=50)
        self.record_member = StreamMember(redis, stream=ATTEMPTED_STREAM, group=STORE_GROUP, name=name, count=10, block_ms=50)
        self.accept = Ingest(
            redis=redis,
            member=self.accept_member,
            pool=pool,
            handler=accept_handler,
            metrics=self.metrics,
            takeover_idle_ms=takeover_idle_ms,
        )
        self.record = Ingest(
            redis=redis,
            member=self.record_member,
            pool=pool,
            handler=record_handler,
            metrics=self.metrics,
            takeover_idle_ms=takeover_idle_ms,
        )

    def _wake(self) -> None:
        self.woken += 1

    def wiped_at(self, stream: str) -> float:
        """When it found the stream wiped; 0 for never."""
        return self.metrics.registry.get_sample_value("fetchwork_stream_wiped_timestamp_seconds", {"stream": stream}) or 0.0

    def parked(self, stream: str) -> float:
        """How many messages it counted as dead letters."""
        return self.metrics.registry.get_sample_value("fetchwork_dead_letters_total", {"stream": stream}) or 0.0
