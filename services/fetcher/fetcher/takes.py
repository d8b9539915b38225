"""Who takes a message first: a key in the broker for each, so that one that comes twice is run once.

Celery acknowledges a message after its task has begun. When the connection breaks in between, the message is put back, and taken
again by this worker or another while its lease still runs: a POST would be sent twice, a host asked faster than its pace.
"""

from secrets import token_hex

import structlog
from common.streams.names import TAKEN_KEY_PREFIX
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from fetcher.errors import TakeUnknown

SLACK_SECONDS = 5.0
"""How much longer than the leases in it a message is remembered: its commands are void by then."""

log = structlog.get_logger()


class Takes:
    """The takes of one worker. For the event loop."""

    def __init__(self, broker: Redis) -> None:
        self._broker = broker

    async def is_first(self, message_id: str, *, lease_seconds: float) -> bool:
        """True once for each message, whoever asks, until `lease_seconds` from now. Raises TakeUnknown.

        Where our user may not write such keys yet, every message counts as the first: an operator's older list of rights must
        not stop all work.
        """
        own = token_hex(8).encode()  # a reply may be lost after the key was written; then the second try finds this
        lifetime_ms = int((max(0.0, lease_seconds) + SLACK_SECONDS) * 1000)
        try:
            before = await self._broker.set(TAKEN_KEY_PREFIX + message_id, own, px=lifetime_ms, nx=True, get=True)
        except NoPermissionError:
            log.error("messages that come twice are not noticed", remedy="let this user SET and GET the broker's taken keys")
            return True
        except (RedisError, OSError) as error:
            raise TakeUnknown(type(error).__name__) from error
        return before is None or before == own
