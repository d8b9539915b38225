"""Tells the gateways how many fetches of each key are finished, so that they know how many are pending.

Reads the ledger's totals, which never decrease, and writes them to the events Redis. Late or repeated it only makes more look
pending than are, so that no limit is exceeded; a Redis that was wiped has the totals back after one round.
"""

from importlib.resources import files

from common.streams.names import KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from redis.asyncio import Redis

from store.database import Pool, fetch_rows
from store.metrics import StoreMetrics
from store.queries import query

TOTALS = query("key_totals")
KEYS_AT_ONCE = 500
REST_SECONDS = 1.0


class QuotaKeeper:
    """The loop that gives keys room again. Goes round the keys whose queued fetches are limited, a bounded set a pass."""

    name = "quota keeper"

    def __init__(self, *, pool: Pool, redis: Redis, metrics: StoreMetrics) -> None:
        self._pool = pool
        script = files("store.maintenance").joinpath("quota_totals.lua").read_text(encoding="utf-8")
        self._write = redis.register_script(script)
        self._metrics = metrics
        self._after = ""

    async def run_once(self) -> float:
        """Bring one set of keys up to date; rests after the last."""
        rows = await fetch_rows(self._pool, TOTALS, self._after, KEYS_AT_ONCE)
        if rows:
            totals = [value for row in rows for value in (row["key_id"], row["accepted"], row["finished"])]
            raised = await self._write(keys=[KEY_ACCEPTED_HASH, KEY_FINISHED_HASH], args=totals)
            self._metrics.key_totals_raised.inc(raised)
        self._after = rows[-1]["key_id"] if len(rows) == KEYS_AT_ONCE else ""
        return 0 if self._after else REST_SECONDS
