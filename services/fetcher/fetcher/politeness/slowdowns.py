"""Which hosts asked to be left alone, and until when: what this process was told by them, and by other workers.

Workers tell each other by pub/sub, so that the trains of all of them stop at once. Only a hint: it may be lost or late, the
broker may be away or wiped, and no fetch is lost for it, since the store learns the same from the outcome.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NoReturn

import structlog
from common.clock import Clock
from common.contracts.envelope import Message
from common.contracts.fetches import Outcome
from common.streams.names import SLOWDOWN_CHANNEL
from common.urls import Target, read_url
from pydantic import AwareDatetime, Field, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fetcher.metrics import FetcherMetrics, SlowdownSource

SLOWDOWN_STATUSES = frozenset({429, 503})
SLOWDOWN_SECONDS = 1.0
"""Without a Retry-After: enough for what is under way to notice; how long to back off is the store's business."""
LIMIT_SECONDS = 60.0
"""About as long as a train that left before may still run; from then on the store's word holds, also when an operator resumes."""
HOSTS_LIMIT = 10_000
UNTOLD_LIMIT = 1000
MESSAGE_LIMIT_BYTES = 1024
LISTEN_SECONDS = 1.0
"""One read of the subscription; below the socket timeout of the connection, which would end it."""
RECONNECT_SECONDS = 0.5

log = structlog.get_logger()


class Slowdown(Message):
    """What workers tell each other: this host asked to be left alone until then."""

    host: str = Field(min_length=1, max_length=300)
    until: AwareDatetime


class Slowdowns:
    """Host → until when, of `hosts_limit` hosts at most: of more, what was learned first is forgotten.

    Lives on one loop. `is_listening` says whether other workers are heard now.
    """

    def __init__(self, *, clock: Clock, metrics: FetcherMetrics, hosts_limit: int = HOSTS_LIMIT) -> None:
        self._clock = clock
        self._metrics = metrics
        self._hosts_limit = hosts_limit
        self._untils: OrderedDict[str, datetime] = OrderedDict()
        self._untold: asyncio.Queue[Slowdown] = asyncio.Queue(UNTOLD_LIMIT)
        self.is_listening = False

    @property
    def count(self) -> int:
        """How many hosts are remembered, some of which may be open again."""
        return len(self._untils)

    def until(self, host: str | None) -> datetime | None:
        """Until when this host is to be left alone, None when it need not be."""
        until = self._untils.get(host) if host is not None else None
        if until is None or until > self._clock():
            return until
        del self._untils[host]  # type: ignore[arg-type]
        return None

    def learn(self, outcome: Outcome) -> None:
        """Remember what the host that answered asked for, if anything, and tell the other workers."""
        slowdown = read_slowdown(outcome, now=self._clock())
        if slowdown is not None and self._remember(slowdown, source=SlowdownSource.OWN) and not self._untold.full():
            self._untold.put_nowait(slowdown)

    def hear(self, data: object) -> None:
        """Remember what another worker told; never raises, whatever was sent."""
        if not isinstance(data, bytes) or len(data) > MESSAGE_LIMIT_BYTES:
            return
        try:
            slowdown = Slowdown.model_validate_json(data)
        except (ValidationError, ValueError):
            return
        self._remember(slowdown, source=SlowdownSource.TOLD)

    async def run(self, broker: Redis) -> None:
        """Tell and listen until cancelled; survives any outage of the broker."""
        async with asyncio.TaskGroup() as both:
            both.create_task(_keep_trying(lambda: self._listen(broker), what="slowdowns not heard"))
            both.create_task(_keep_trying(lambda: self._tell(broker), what="slowdown not told"))

    def _remember(self, slowdown: Slowdown, *, source: SlowdownSource) -> bool:
        """False when it says nothing new, as the echo of what we told ourselves."""
        host, now = slowdown.host, self._clock()
        until = min(slowdown.until, now + timedelta(seconds=LIMIT_SECONDS))
        known = self._untils.get(host)
        if until <= now or (known is not None and until <= known):
            return False
        self._untils[host] = until
        self._untils.move_to_end(host)
        if len(self._untils) > self._hosts_limit:
            self._untils.popitem(last=False)
        self._metrics.slowed(source)
        return True

    async def _listen(self, broker: Redis) -> None:
        async with broker.pubsub(ignore_subscribe_messages=True) as subscription:
            try:
                await subscription.subscribe(SLOWDOWN_CHANNEL)
                while True:
                    message = await subscription.get_message(timeout=LISTEN_SECONDS)
                    self.is_listening = True
                    if message is not None:
                        self.hear(message["data"])
            finally:
                self.is_listening = False

    async def _tell(self, broker: Redis) -> None:
        while True:
            slowdown = await self._untold.get()
            await broker.publish(SLOWDOWN_CHANNEL, slowdown.model_dump_json())


def read_slowdown(outcome: Outcome, *, now: datetime) -> Slowdown | None:
    """What a response says about the host that gave it, which after a redirect is another than was asked.

    A wait of its own, by `Retry-After` (RFC 9110 section 10.2.3), or a moment for a bare 429 (RFC 6585 section 4) or 503.
    """
    head = outcome.response or outcome.evidence.received
    not_before = outcome.not_before if outcome.response is not None else None
    if head is None or (not_before is None and head.status not in SLOWDOWN_STATUSES):
        return None
    host = host_of(head.final_url)
    if host is None:
        return None
    return Slowdown(host=host, until=not_before or now + timedelta(seconds=SLOWDOWN_SECONDS))


def host_of(url: str) -> str | None:
    """The host that we are polite to at this URL, None when it cannot be read."""
    target = read_url(url)
    return target.host if isinstance(target, Target) else None


async def _keep_trying(work: Callable[[], Awaitable[None]], *, what: str) -> NoReturn:
    while True:
        try:
            await work()
        except (RedisError, OSError) as error:
            log.debug(what, error=type(error).__name__)  # the announcement, to the same broker, warns
        except Exception as error:  # a reply that no Redis sends must not end the process's ears for good
            log.warning(what, error=type(error).__name__)
        await asyncio.sleep(RECONNECT_SECONDS)
