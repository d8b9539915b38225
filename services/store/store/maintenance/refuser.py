"""Ends what waits for hosts that it will not get to: an operator banned them, or nobody has reached them for long.

Goes round these hosts, a bounded set a pass. It never touches what is out.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
import structlog
from common.contracts.fetches import ErrorType
from common.contracts.hosts import HostState

from store.database import Connection, Pool, in_transaction
from store.fetches.finish import Finished, finish_fetches
from store.fetches.lifecycle import Finish, give_up
from store.handlers import note_finished
from store.hosts.pace import Host, Override, PaceSettings, override_in_force
from store.hosts.rows import expect_work, host_of_row
from store.metrics import StoreMetrics
from store.queries import query

HOSTS = query("hosts_refusing")
BANNED = query("queue_find_banned")
UNREACHED = query("queue_find_unreached")
HOSTS_AT_ONCE = 200
BATCH_FETCHES = 500
REST_SECONDS = 1.0

log = structlog.get_logger()


class Refuser:
    """The loop that lets nothing wait in vain."""

    name = "refuser"

    def __init__(
        self, *, pool: Pool, pace: PaceSettings, patience_seconds: float, source: str, metrics: StoreMetrics
    ) -> None:
        self._pool = pool
        self._failures = failures_of_patience(pace, patience_seconds)
        self._patience_seconds = patience_seconds
        self._source = source
        self._metrics = metrics
        self._after = ""

    async def run_once(self, *, now: datetime | None = None) -> float:
        """Finish one batch as failed, on the next set of hosts; goes on with the same set while there is more."""
        count, finished, last_host = await in_transaction(self._pool, lambda connection: self._refuse(connection, now=now))
        note_finished(self._metrics, finished)
        if count:
            log.warning("fetches failed with their hosts", fetches=count)
        if count >= BATCH_FETCHES:
            return 0
        self._after = last_host
        return 0 if last_host else REST_SECONDS

    async def _refuse(self, connection: Connection, *, now: datetime | None) -> tuple[int, Finished, str]:
        """How many were found, what was finished, and the last of the hosts, empty when there are no more."""
        rows = await connection.fetch(HOSTS, self._after, HOSTS_AT_ONCE, now)
        if not rows:
            return 0, Finished(), ""
        hosts = {row["host"]: host_of_row(row) for row in rows}
        banned = await self._on_banned(connection, hosts, at=rows[0]["now"], now=now)
        unreached = await self._on_unreached(connection, hosts, limit=BATCH_FETCHES - len(banned), now=now)
        finishes = list({finish.id: finish for finish in (*unreached, *banned)}.values())
        finished = await finish_fetches(connection, finishes, source=self._source, now=now)
        await expect_work(connection, sorted(finished.released), now=now)
        return len(finishes), finished, rows[-1]["host"] if len(rows) == HOSTS_AT_ONCE else ""

    async def _on_banned(
        self, connection: Connection, hosts: Mapping[str, Host], *, at: datetime, now: datetime | None
    ) -> list[Finish]:
        bans = {
            name: override
            for name, host in hosts.items()
            if (override := override_in_force(host, now=at)) is not None and override.state is HostState.BANNED
        }
        rows = await connection.fetch(BANNED, list(bans), BATCH_FETCHES, now) if bans else []
        return [give_up(row["id"], error=ErrorType.REFUSED_ADDRESS, reason=_ban(bans[row["host"]])) for row in rows]

    async def _on_unreached(
        self, connection: Connection, hosts: Mapping[str, Host], *, limit: int, now: datetime | None
    ) -> list[Finish]:
        names = [name for name, host in hosts.items() if host.broken_until is not None and host.failures >= self._failures]
        rows: Sequence[asyncpg.Record] = []
        if names and limit > 0:
            rows = await connection.fetch(UNREACHED, names, self._patience_seconds, limit, now)
        return [
            give_up(row["id"], error=_last_error(hosts[row["host"]]), reason=_unreached(hosts[row["host"]], row["attempts"]))
            for row in rows
        ]


def failures_of_patience(pace: PaceSettings, patience_seconds: float) -> int:
    """After how many failures in a row a host was left alone for that long in all: then nobody has reached it for that long."""
    rests, rested, rest = 0, 0.0, pace.breaker_seconds
    while rested < patience_seconds and rest < pace.breaker_limit_seconds:
        rests, rested, rest = rests + 1, rested + rest, rest * 2
    if rested < patience_seconds:
        rests += math.ceil((patience_seconds - rested) / pace.breaker_limit_seconds)
    return pace.breaker_failures + rests


def _ban(override: Override) -> str:
    because = f": {override.reason}" if override.reason else "."
    return f"An operator banned the host until {override.until:%Y-%m-%dT%H:%M:%SZ}{because}"


def _unreached(host: Host, attempts: int) -> str:
    again = " again" if attempts else ""
    return f"The host could not be reached {host.failures} times in a row; this fetch was not attempted{again}."


def _last_error(host: Host) -> ErrorType:
    last = host.recent[0].error if host.recent else None
    return ErrorType(last) if last is not None else ErrorType.CONNECT
