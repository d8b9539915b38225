"""Overviews of the deployment that the status page's tests show."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
from common.clock import utc_now
from common.contracts.fetches import ErrorType
from common.contracts.hosts import BreakerState, BreakerView, HostState, HostView, PaceRule, PaceView
from common.contracts.overview import BusyHost, Failure, Overview, TrafficSample

KINDS = ("succeeded", "failed", "cancelled", "expired")


def sample(at: datetime, **counts: Any) -> TrafficSample:
    """A sample; counts that are not given are 0."""
    zeros = dict.fromkeys(TrafficSample.model_fields.keys() - {"at"}, 0)
    return TrafficSample(**zeros | counts | {"at": at})


def busy_overview(**members: Any) -> Overview:
    """A deployment with an hour of traffic, a queue, hosts of every kind, and failures. Always the same but for the time."""
    now = utc_now()
    minute = now.replace(second=0, microsecond=0)
    samples, totals = [], dict.fromkeys(("accepted", *KINDS), 40_000)
    for number in range(61):
        wave = 60 + 40 * ((number * 7) % 13) // 13 + (90 if 38 < number < 44 else 0)
        queue = {"queued": 400 + 25 * abs(30 - number), "running": 12 + number % 5, "oldest_seconds": 4.2}
        samples.append(sample(minute - timedelta(minutes=60 - number), **totals, **queue))
        failed = 26 if number % 11 == 0 else 2
        ends = {"succeeded": wave - 9, "failed": failed, "cancelled": number % 4 // 2, "expired": number % 7 // 6}
        totals = {name: count + ends.get(name, wave) for name, count in totals.items()}
    latest = sample(now, **totals, queued=1284, running=14, oldest_seconds=4.2)
    facts = {"now": latest, "samples": samples, "workers": 2, "worker_slots": 32, "hosts": _hosts(now), "failures": failures(now)}
    return Overview(**facts | members)


def busy_host(host: str, fetches: int, **members: Any) -> BusyHost:
    """A host with so many fetches in the queue."""
    pace = members.pop("pace", PaceView(rule=PaceRule.DEFAULT, delay_ms=0, max_in_flight=4))
    view = HostView(host=host, pace=pace, backlog=fetches, in_flight=0, counted_up_to=1000, **members)
    return BusyHost(host=view, fetches=fetches, is_guess=fetches > 1000)


def failure(host: str, error: ErrorType, *, at: datetime, detail: str = "It did not work.", number: int = 1) -> Failure:
    """A fetch that failed."""
    return Failure(id=UUID(int=2**120 + number), host=host, tenant="default", at=at, error=error, detail=detail)


def failures(now: datetime) -> list[Failure]:
    """Some, the last first."""
    errors = (ErrorType.CONNECT, ErrorType.REFUSED_ROBOTS, ErrorType.TIMEOUT, ErrorType.TLS, ErrorType.DNS, ErrorType.ABANDONED)
    hosts = ("news.example", "shop.example:8443", "a-rather-long-name-of-a-host.departments.example", "old.example")
    return [
        failure(hosts[number % len(hosts)], error, at=now - timedelta(seconds=40 * number), number=number * 4711)
        for number, error in enumerate(errors)
    ]


def _hosts(now: datetime) -> list[BusyHost]:
    soon = now + timedelta(seconds=3)
    slow = PaceView(rule=PaceRule.ROBOTS, delay_ms=5000, max_in_flight=1)
    asked = PaceView(rule=PaceRule.RETRY_AFTER, delay_ms=0, max_in_flight=1, until=now + timedelta(seconds=90))
    broken = BreakerView(state=BreakerState.OPEN, failures=7, until=soon)
    return [
        busy_host("news.example", 1040, next_slot_at=soon, pace=slow),
        busy_host("a-rather-long-name-of-a-host.departments.example", 120),
        busy_host("shop.example:8443", 84, pace=asked, next_slot_at=now + timedelta(seconds=90)),
        busy_host("old.example", 31, breaker=broken, next_slot_at=soon),
        busy_host("quiet.example", 9, state=HostState.PAUSED),
    ]


async def sign_in(browser: httpx2.AsyncClient, key: str) -> httpx2.Response:
    """Send the form as a browser does; the client keeps the cookie."""
    return await browser.post("/session", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin"})
