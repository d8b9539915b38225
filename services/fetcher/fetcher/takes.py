"""Who takes a message first: a key in the broker for each, so that one that comes twice is run once.

Celery acknowledges a message after its task has begun. When the connection breaks in between, the message is put back, and taken
again by this worker or another while its lease still runs: a POST would be sent twice, a host asked faster than its pace.
"""

import asyncio
from secrets import token_hex
from time import monotonic

import structlog
from common.streams.names import TAKEN_KEY_PREFIX
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from fetcher.errors import TakeUnknown

SLACK_SECONDS = 5.0
"""How much longer than the leases in it a message is remembered: its commands are void by then."""

TRY_SECONDS = 10.0
REST_SECONDS = 0.2

log = structlog.get_logger()


class Takes:
    """The takes of one worker. For the event loop."""

    def __init__(self, broker: Redis, *, try_seconds: float = TRY_SECONDS) -> None:
        self._broker = broker
        self._try_seconds = try_seconds

    async def is_first(self, message_id: str, *, lease_seconds: float) -> bool:
        """True once for each message, whoever asks, until `lease_seconds` from now.

        A broker that does not answer is asked again, for half of the lease at most: a POST whose message is left is never sent.
        Raises TakeUnknown after that.
        Where our user may not write such keys yet, every message counts as the first: an operator's older list of rights must
        not stop all work.
        """
        own = token_hex(8).encode()  # a reply may be lost after the key was written; then the second try finds this
        lifetime_ms = int((max(0.0, lease_seconds) + SLACK_SECONDS) * 1000)
        ends_at = monotonic() + min(lease_seconds / 2, self._try_seconds)
        while True:
            try:
                before = await self._broker.set(TAKEN_KEY_PREFIX + message_id, own, px=lifetime_ms, nx=True, get=True)
            except NoPermissionError:
                log.error("messages that come twice are not noticed", remedy="let this user SET and GET the broker's taken keys")
                return True
            except (RedisError, OSError) as error:
                if monotonic() + REST_SECONDS >= ends_at:
                    raise TakeUnknown(type(error).__name__) from error
            else:
                return before is None or before == own
            await asyncio.sleep(REST_SECONDS)
