"""Tells the gateways how many fetches of each key are finished, so that they know how many are pending.

Reads the ledger's totals, which never decrease, and writes them to the events Redis. Late or repeated it only makes more look
pending than are, so that no limit is exceeded; a Redis that was wiped has the totals back after one round. What gateways counted
twice, such as a fetch that was sent again when the ledger had it, is taken back once nothing is on its way into the ledger.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from common.streams.names import INGESTING_HASH, KEY_ACCEPTED_HASH, KEY_FINISHED_HASH
from redis.asyncio import Redis

from store.database import Connection, Pool, in_transaction
from store.metrics import StoreMetrics
from store.queries import query

TOTALS = query("key_totals")
KEYS_AT_ONCE = 500
REST_SECONDS = 1.0
LOCK_KEY = 0x71756F74  # "quot"


class QuotaKeeper:
    """The loop that gives keys room again. Goes round the keys whose queued fetches are limited, a bounded set a pass.

    One keeper at a time, by an advisory lock: what one has lowered, another must not take for what it read before.
    """

    name = "quota keeper"

    def __init__(self, *, pool: Pool, redis: Redis, metrics: StoreMetrics) -> None:
        self._pool = pool
        self._redis = redis
        script = files("store.maintenance").joinpath("quota_totals.lua").read_text(encoding="utf-8")
        self._write = redis.register_script(script)
        self._metrics = metrics
        self._after = ""

    async def run_once(self) -> float:
        """Bring one set of keys up to date, unless another keeper does; rests after the last."""
        self._after = await in_transaction(self._pool, self._bring_up)
        return 0 if self._after else REST_SECONDS

    async def _bring_up(self, connection: Connection) -> str:
        """Returns the key behind which the next pass begins."""
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY):
            return ""
        rows = await connection.fetch(TOTALS, self._after, KEYS_AT_ONCE)
        if not rows:
            return ""
        settled = await self._settled({row["key_id"]: row["accepted"] for row in rows})
        if settled:
            rows = await connection.fetch(TOTALS, self._after, KEYS_AT_ONCE)  # read behind what is compared with it
        totals = [
            value
            for row in rows
            for value in (row["key_id"], row["accepted"], row["finished"], settled.get(row["key_id"], b""))
        ]
        raised, lowered = await self._write(keys=[KEY_ACCEPTED_HASH, KEY_FINISHED_HASH], args=totals)
        self._metrics.key_totals_raised.inc(raised)
        self._metrics.key_totals_lowered.inc(lowered)
        return str(rows[-1]["key_id"]) if len(rows) == KEYS_AT_ONCE else ""

    async def _settled(self, accepted: Mapping[str, int]) -> dict[str, bytes]:
        """Accepted totals in Redis that exceed the ledger's, if all that they count is in the ledger by now.

        A fetch is among those being ingested from the moment it is counted until the ledger has it: where there is none after a
        total was read, the ledger has all of that total.
        """
        totals: list[Any] = await self._redis.hmget(KEY_ACCEPTED_HASH, list(accepted))
        known: dict[str, bytes | None] = dict(zip(accepted, totals, strict=True))
        ahead = {key: total for key, total in known.items() if total is not None and int(total) > accepted[key]}
        return ahead if ahead and not await self._redis.hlen(INGESTING_HASH) else {}
