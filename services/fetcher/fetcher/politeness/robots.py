"""The gate of robots.txt (RFC 9309): may this URL be fetched, and by which line.

An origin's file comes from this process's memory, else from the store, which all workers share, else from the origin. However
many attempts need one at once, a process asks once: the asking belongs to none of them, and outlives those that give up.
"""

import asyncio
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog
from common.clock import Clock
from common.contracts.fetches import RobotsEvidence, RobotsVerdict
from common.contracts.robots import RobotsAvailability, RobotsFile
from common.robots.rules import RobotsRules, product_token
from common.robots.verdicts import is_exempt, judge_url, origin_of
from common.urls import Target

from fetcher.egress.client import EgressClient
from fetcher.egress.evidence import EvidenceLog, HopRecord
from fetcher.errors import ExchangeFailed
from fetcher.politeness.robots_memory import BoundedMemory, KeptRobots
from fetcher.politeness.robots_metrics import LookupResult, LookupSource, RobotsMetrics
from fetcher.politeness.robots_origin import FRESH_SECONDS, LOOKUP_LIMIT_SECONDS, ask_origin
from fetcher.politeness.robots_store import RobotsStore, Stored

MEMORY_LIMIT_CHARACTERS = 1024 * 1024
"""Of rules that bind us, over all origins; parsed, a million characters were measured to take from 20 to 75 MB."""
FAILURES_LIMIT = 256 * 1024
"""A thousand origins whose network failed."""
FAILURE_SECONDS = 3.0
"""A failure of the network is remembered this long: attempts that come together share it, a retry asks anew."""
STALE_LIMIT = timedelta(days=30)
"""An expired copy serves this long while its origin is unreachable (RFC 9309 section 2.3.1.4)."""
BIG_CHARACTERS = 16 * 1024
"""Rules up to this length are read and matched within a few milliseconds; more are handed to a thread, for the loop's sake."""

_KEPT_AS = {availability: LookupResult(availability) for availability in RobotsAvailability}

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    error: ExchangeFailed
    hops: tuple[HopRecord, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _LookedUp:
    """How a lookup ended. `failed_hops` are of an exchange that failed, or led to where the egress policy does not go.

    `has_asked_origin` is False when the store's copy served.
    """

    answer: KeptRobots | _Failure
    failed_hops: tuple[HopRecord, ...] = ()
    has_asked_origin: bool = True


class RobotsGate:
    """Decides about URLs by robots.txt. Lives on one loop; `close()` it before the client and the store's session."""

    def __init__(
        self,
        client: EgressClient,
        *,
        store: RobotsStore,
        metrics: RobotsMetrics,
        user_agent: str,
        clock: Clock,
        lookup_seconds: float = LOOKUP_LIMIT_SECONDS,
        memory_limit: int = MEMORY_LIMIT_CHARACTERS,
    ) -> None:
        self._client = client
        self._store = store
        self._metrics = metrics
        self._product_token = product_token(user_agent)
        self._clock = clock
        self._lookup_seconds = lookup_seconds
        self._kept: BoundedMemory[KeptRobots] = BoundedMemory(memory_limit)
        self._failures: BoundedMemory[_Failure] = BoundedMemory(FAILURES_LIMIT)
        self._lookups: dict[str, asyncio.Task[_LookedUp]] = {}
        self._sharing: set[asyncio.Task[None]] = set()
        metrics.watch_kept(self._kept.__len__)

    async def check(self, target: Target, *, log: EvidenceLog) -> RobotsEvidence:
        """What robots.txt says about a URL, for the caller to act on. `/robots.txt` itself is always allowed (section 2.2.2).

        Raises ExchangeFailed when the network failed or the origin itself is refused, as the page's exchange would. Hops of
        a failed or refused exchange are appended to `log`, and `has_asked_robots` says whether there was an exchange just now.
        """
        if is_exempt(target.url):
            return self._decided(RobotsEvidence(verdict=RobotsVerdict.ALLOWED))
        origin = origin_of(target)
        robots = self._recall(origin) or await self._join_lookup(origin, log=log)
        if isinstance(robots, _Failure):
            log.hops.extend(robots.hops)
            raise copy(robots.error)  # each attempt its own: a raised exception collects the traces of whoever raises it
        if robots.blanket is not None:
            return self._decided(robots.blanket)
        if robots.rules.weight > BIG_CHARACTERS:
            return self._decided(await asyncio.to_thread(_judge, robots, target.url))
        return self._decided(_judge(robots, target.url))

    def asked_again_at(self, target: Target) -> datetime | None:
        """When an unreachable robots.txt of this target's origin is asked for again; None when it is not unreachable."""
        kept = self._kept.get(origin_of(target))
        return kept.expires_at if kept is not None and kept.availability is RobotsAvailability.UNREACHABLE else None

    async def close(self) -> None:
        """Give up lookups and what is being handed to the store."""
        running = [*self._lookups.values(), *self._sharing]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _decided(self, evidence: RobotsEvidence) -> RobotsEvidence:
        self._metrics.decided(evidence.verdict)
        return evidence

    def _recall(self, origin: str) -> KeptRobots | _Failure | None:
        """What this process knows and may still use."""
        kept, now = self._kept.get(origin), self._clock()
        if kept is not None and now < kept.expires_at:
            self._metrics.looked_up(LookupSource.PROCESS, _KEPT_AS[kept.availability])
            return kept
        failure = self._failures.get(origin)
        if failure is not None and now < failure.expires_at:
            self._metrics.looked_up(LookupSource.PROCESS, LookupResult.FAILED)
            return failure
        return None

    async def _join_lookup(self, origin: str, *, log: EvidenceLog) -> KeptRobots | _Failure:
        task = self._lookups.get(origin)
        if task is None:
            task = asyncio.create_task(self._look_up(origin))
            self._lookups[origin] = task
            task.add_done_callback(partial(self._lookup_ended, origin))
        else:
            self._metrics.looked_up(LookupSource.PROCESS, LookupResult.SHARED)
        looked_up = await asyncio.shield(task)
        log.hops.extend(looked_up.failed_hops)
        log.has_asked_robots = looked_up.has_asked_origin
        return looked_up.answer

    def _lookup_ended(self, origin: str, task: asyncio.Task[_LookedUp]) -> None:
        del self._lookups[origin]
        if not task.cancelled() and task.exception() is not None:  # asked for even when nobody waits any more
            logger.error("robots lookup broke", error=type(task.exception()).__name__)

    async def _look_up(self, origin: str) -> _LookedUp:
        stored, now = await self._store.get(origin), self._clock()
        if stored.file is None or stored.file.expires_at <= now:
            self._metrics.looked_up(LookupSource.STORE, LookupResult.AWAY if stored.is_away else LookupResult.MISSING)
            return await self._ask(origin, stored=stored, now=now)
        self._metrics.looked_up(LookupSource.STORE, LookupResult(stored.file.availability))
        until = min(stored.file.expires_at, now + timedelta(seconds=FRESH_SECONDS))  # whoever wrote the row
        file = stored.file.model_copy(update={"expires_at": until})
        kept = await self._stale_instead(file, stored=stored, now=now) or await self._keep(file)
        return _LookedUp(answer=kept, has_asked_origin=False)

    async def _ask(self, origin: str, *, stored: Stored, now: datetime) -> _LookedUp:
        waited = self._last_wait(origin, stored=stored)
        asked = await ask_origin(self._client, origin, now=now, seconds=self._lookup_seconds, waited=waited)
        if isinstance(asked.answer, ExchangeFailed):
            self._metrics.looked_up(LookupSource.ORIGIN, LookupResult.FAILED)
            expires_at = self._clock() + timedelta(seconds=FAILURE_SECONDS)
            # The copy leaves the trace behind, which would keep the frames of the exchange for as long.
            failure = _Failure(error=copy(asked.answer), hops=asked.failed_hops, expires_at=expires_at)
            self._failures.put(origin, failure)
            return _LookedUp(answer=failure)
        stale = await self._stale_instead(asked.answer, stored=stored, now=now)
        if stale is not None:
            self._metrics.looked_up(LookupSource.ORIGIN, LookupResult.STALE)
            return _LookedUp(answer=stale, failed_hops=asked.failed_hops)
        self._metrics.looked_up(LookupSource.ORIGIN, LookupResult(asked.answer.availability))
        if not (stored.is_away and asked.answer.availability is RobotsAvailability.UNREACHABLE):
            self._share(asked.answer)  # but a failure must not take the place of a good copy that we could not see
        return _LookedUp(answer=await self._keep(asked.answer), failed_hops=asked.failed_hops)

    async def _stale_instead(self, file: RobotsFile, *, stored: Stored, now: datetime) -> KeptRobots | None:
        """In place of an unreachable file the newest copy that we or the store have, good until the origin is asked again.

        None when the file is not unreachable, and when no copy is young enough.
        """
        if file.availability is not RobotsAvailability.UNREACHABLE:
            return None
        known = [known for known in (stored.file, self._kept.get(file.origin)) if known and _is_usable(known, now=now)]
        newest = max(known, key=lambda known: known.fetched_at, default=None)
        if newest is None:
            return None
        waited = file.expires_at - file.fetched_at
        if isinstance(newest, RobotsFile):
            extended = newest.model_copy(update={"expires_at": file.expires_at})
            self._share(extended)
            return await self._keep(extended, waited=waited)
        kept = replace(newest, expires_at=file.expires_at, waited=waited)
        self._kept.put(file.origin, kept, weight=kept.rules.weight)
        return kept

    def _last_wait(self, origin: str, *, stored: Stored) -> timedelta | None:
        """How long the origin was left alone when it was last unreachable, as far as we or the store know."""
        kept = self._kept.get(origin)
        waits = (kept.waited if kept else None, _wait_of(stored.file) if stored.file else None)
        return max((wait for wait in waits if wait is not None), default=None)

    async def _keep(self, file: RobotsFile, *, waited: timedelta | None = None) -> KeptRobots:
        read = partial(RobotsRules.read, file.text, product_token=self._product_token)
        kept = KeptRobots(
            origin=file.origin,
            availability=file.availability,
            status=file.status,
            rules=await asyncio.to_thread(read) if len(file.text) > BIG_CHARACTERS else read(),
            fetched_at=file.fetched_at,
            expires_at=file.expires_at,
            waited=waited or _wait_of(file),
        )
        if kept.availability is not RobotsAvailability.FOUND or kept.rules.weight == 0:
            kept = replace(kept, blanket=_judge(kept, f"{file.origin}/"))
        self._kept.put(file.origin, kept, weight=kept.rules.weight)
        return kept

    def _share(self, file: RobotsFile) -> None:
        """Hand it to the store, without keeping anyone waiting."""
        task = asyncio.create_task(self._put(file))
        self._sharing.add(task)
        task.add_done_callback(self._sharing.discard)

    async def _put(self, file: RobotsFile) -> None:
        if not await self._store.put(file):
            self._metrics.unshared.inc()


def _is_usable(known: RobotsFile | KeptRobots, *, now: datetime) -> bool:
    return known.availability is RobotsAvailability.FOUND and now - known.fetched_at < STALE_LIMIT


def _wait_of(file: RobotsFile) -> timedelta | None:
    return file.expires_at - file.fetched_at if file.availability is RobotsAvailability.UNREACHABLE else None


def _judge(robots: KeptRobots, url: str) -> RobotsEvidence:
    return RobotsEvidence(
        verdict=judge_url(robots.availability, robots.rules, url),
        url=f"{robots.origin}/robots.txt",
        status=robots.status,
        line=robots.rules.quote(url) if robots.availability is RobotsAvailability.FOUND else None,
        fetched_at=robots.fetched_at,
        crawl_delay_seconds=robots.rules.crawl_delay_seconds,
    )
