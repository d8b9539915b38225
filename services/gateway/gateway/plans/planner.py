"""Say what fetches would meet, without fetching: read, judge, ask the store. Sends nothing to any origin."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from common.clock import Clock
from common.contracts.hosts import HostState
from common.contracts.plans import HostPlan, PlanAnswer, PlanInquiry
from common.robots.verdicts import origin_of
from common.urls import Target, UrlRefusal, read_url

from gateway.errors import StoreUnavailable
from gateway.metrics import GatewayMetrics
from gateway.plans.egress import EgressPlanner
from gateway.plans.models import EgressPlan, PacePlan, PlanDocument, PlanItem, RobotsPlan
from gateway.plans.robots import judge_robots
from gateway.store_client import StoreClient

BIG_CHARACTERS = 16 * 1024
"""So much of robots.txt, counted once for each URL, is matched within 4 ms; more is handed to a thread, for the loop's sake."""
READING_WAIT_SECONDS = 5.0
"""How long a plan waits for others that read much of robots.txt: one does at a time, for a second or so at worst."""

log = structlog.get_logger()


class Planner:
    """Makes plans, of `urls_limit` URLs at most. None takes longer than a lookup, a call to the store and reading files may."""

    def __init__(
        self,
        *,
        egress: EgressPlanner,
        store: StoreClient,
        product_token: str,
        metrics: GatewayMetrics,
        clock: Clock,
        urls_limit: int,
    ) -> None:
        self._egress = egress
        self._store = store
        self._product_token = product_token
        self._metrics = metrics
        self._clock = clock
        self._reading = asyncio.Semaphore(1)
        self.urls_limit = urls_limit

    async def plan(self, urls: Sequence[str]) -> PlanDocument:
        """One item a URL, in order. While the store is away what it knows is missing, and the rest is there."""
        reads = [read_url(url) for url in urls]
        judged = await self._egress.judge(reads)
        targets = [
            read for read, egress in zip(reads, judged, strict=True) if isinstance(read, Target) and egress.verdict == "allow"
        ]
        answer = await self._ask_store(targets)
        now = self._clock()
        robots = await self._judge_robots(targets, answer, now=now)
        hosts = {host.host: host for host in answer.hosts}
        for egress in judged:
            self._metrics.planned.labels(reason=egress.reason).inc()
        return PlanDocument(
            items=[
                _item(url, read, egress, robots=robots, hosts=hosts, now=now)
                for url, read, egress in zip(urls, reads, judged, strict=True)
            ]
        )

    async def _ask_store(self, targets: Sequence[Target]) -> PlanAnswer:
        """What it knows of the targets' hosts and origins; nothing when it is away or of a release that knows no plans."""
        if not targets:
            return PlanAnswer(hosts=[])
        hosts, origins = {target.host for target in targets}, {origin_of(target) for target in targets}
        try:
            return await self._store.plan(PlanInquiry(hosts=sorted(hosts), origins=sorted(origins)))
        except StoreUnavailable as error:
            log.warning("planned without the store", reason=str(error))
            return PlanAnswer(hosts=[], robots_omitted=sorted(origins))

    async def _judge_robots(
        self, targets: Sequence[Target], answer: PlanAnswer, *, now: datetime
    ) -> Mapping[str, RobotsPlan]:
        """By canonical URL; nothing when too many read much at the same time."""
        sizes = {file.origin: len(file.text) for file in answer.robots}
        if sum(sizes.get(origin_of(target), 0) for target in targets) <= BIG_CHARACTERS:
            return judge_robots(targets, answer, product_token=self._product_token, now=now)
        try:
            async with asyncio.timeout(READING_WAIT_SECONDS):
                await self._reading.acquire()
        except TimeoutError:
            return {}
        try:
            return await asyncio.to_thread(judge_robots, targets, answer, product_token=self._product_token, now=now)
        finally:
            self._reading.release()


def _item(
    url: str,
    read: Target | UrlRefusal,
    egress: EgressPlan,
    *,
    robots: Mapping[str, RobotsPlan],
    hosts: Mapping[str, HostPlan],
    now: datetime,
) -> PlanItem:
    if isinstance(read, UrlRefusal):
        return PlanItem(url=url, egress=egress)
    host = hosts.get(read.host) if egress.verdict == "allow" else None
    return PlanItem(
        url=url,
        normalized_url=read.url,
        egress=egress,
        robots=robots.get(read.url) if egress.verdict == "allow" else None,
        pace=_pace(host) if host is not None else None,
        earliest_at=max(now, host.opens_at or now) if host is not None and host.state is not HostState.BANNED else None,
    )


def _pace(host: HostPlan) -> PacePlan:
    return PacePlan(**dict(host.pace), state=host.state, waiting=host.waiting)
