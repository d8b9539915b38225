"""The gate of robots.txt: whom it asks, how often, what it makes of each answer, and what it does when nobody answers.

`StoreApi` stands in for the store's `/internal/v1/robots`. It keeps to the contract (200 with a RobotsFile, expired or not, 404,
204, the newest kept, bearer token); the store's own tests and tests/integration hold the real one to the same.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType, RobotsEvidence, RobotsVerdict
from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsAvailability, RobotsFile
from common.urls import Target, read_url
from prometheus_client import CollectorRegistry

from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import ExchangeFailed
from fetcher.politeness.robots import FAILURE_SECONDS, RobotsGate
from fetcher.politeness.robots_metrics import RobotsMetrics
from fetcher.politeness.robots_store import LEAVE_ALONE_SECONDS, RobotsStore
from fetcher.report import StoreAddress, store_session

PRIVATE = "User-agent: *\nDisallow: /private # keep out\nCrawl-delay: 2"
DAY = timedelta(hours=24)


@dataclass
class Moment:
    """A clock that stands still until the test moves it."""

    now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class StoreApi:
    """The store's door for robots.txt files, in memory. With a `gate`, it answers nothing before that is set."""

    files: dict[str, RobotsFile] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int | None = None
    gate: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.method)
        if self.gate is not None:
            await self.gate.wait()
        if self.status is not None or request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=self.status or 401)
        if request.method == "PUT":
            file = RobotsFile.model_validate_json(await request.read())
            kept = self.files.get(file.origin)
            if kept is None or kept.fetched_at < file.fetched_at:
                self.files[file.origin] = file
            return web.Response(status=204)
        found = self.files.get(request.query["origin"])
        return web.json_response(text=found.model_dump_json()) if found else web.Response(status=404)


@dataclass
class Site:
    """An origin whose robots.txt answers as told, and counts. With a `gate`, it answers nothing before that is set."""

    base: str = ""
    status: int = 200
    body: bytes = PRIVATE.encode()
    headers: dict[str, str] = field(default_factory=dict)
    visits: int = 0
    gate: asyncio.Event | None = None

    async def answer(self, _request: web.Request) -> web.Response:
        self.visits += 1
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=self.status, body=self.body, headers={"Content-Type": "text/plain"} | self.headers)

    def at(self, path: str) -> Target:
        return at(self.base + path)


def at(url: str) -> Target:
    target = read_url(url)
    assert isinstance(target, Target)
    return target


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def store() -> StoreApi:
    return StoreApi()


@pytest.fixture
async def site(serve) -> Site:
    site = Site()
    site.base = await serve({"/robots.txt": site.answer})
    return site


MakeGate = Callable[..., Awaitable[RobotsGate]]


@pytest.fixture
async def make_gate(serve, make_client, store: StoreApi, moment: Moment) -> AsyncIterator[MakeGate]:
    """Build a gate before the store's stand-in; `registry` is an attribute of each, for its metrics."""
    url = await serve({"/internal/v1/robots": store.answer})
    gates = []
    async with store_session() as session:

        async def make(*, client: Any = None, store_url: str = url, store_seconds: float = 2.0, **edges: Any) -> RobotsGate:
            address = StoreAddress(url=store_url, token="secret")
            registry = CollectorRegistry()
            gate = RobotsGate(
                client or make_client(),
                store=RobotsStore(address, session=session, clock=moment, timeout_seconds=store_seconds),
                metrics=RobotsMetrics(registry),
                user_agent="Fetchwork/1 (test)",
                clock=moment,
                **edges,
            )
            gate.registry = registry  # type: ignore[attr-defined]
            gates.append(gate)
            return gate

        yield make
        for gate in gates:
            await gate.close()


async def check(gate: RobotsGate, target: Target) -> RobotsEvidence:
    return await gate.check(target, log=EvidenceLog())


def count(gate: Any, source: str, result: str) -> float | None:
    return gate.registry.get_sample_value("fetchwork_robots_lookups_total", {"source": source, "result": result})


async def test_verdict_comes_with_its_line_and_its_file(make_gate, site: Site, moment: Moment) -> None:
    gate = await make_gate()
    log = EvidenceLog()
    evidence = await gate.check(site.at("/private/a"), log=log)
    assert evidence == RobotsEvidence(
        verdict=RobotsVerdict.DISALLOWED,
        url=f"{site.base}/robots.txt",
        status=200,
        line="Disallow: /private # keep out",
        fetched_at=moment.now,
        crawl_delay_seconds=2.0,
    )
    allowed = await gate.check(site.at("/open"), log=log)
    assert (allowed.verdict, allowed.line, allowed.crawl_delay_seconds) == (RobotsVerdict.ALLOWED, None, 2.0)
    assert log.hops == [] and site.visits == 1
    decided = gate.registry.get_sample_value("fetchwork_robots_decisions_total", {"verdict": "disallowed"})
    assert decided == 1 and (count(gate, "origin", "found"), count(gate, "process", "found")) == (1, 1)
    assert gate.registry.get_sample_value("fetchwork_robots_kept_origins") == 1


async def test_robots_txt_itself_is_allowed_without_asking(make_gate, site: Site) -> None:
    site.body = b"User-agent: *\nDisallow: /"
    assert (await check(await make_gate(), site.at("/robots.txt?x=1"))).verdict is RobotsVerdict.ALLOWED
    assert site.visits == 0


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (204, RobotsVerdict.ALLOWED),
        (304, RobotsVerdict.UNAVAILABLE),
        (401, RobotsVerdict.UNAVAILABLE),
        (404, RobotsVerdict.UNAVAILABLE),
        (410, RobotsVerdict.UNAVAILABLE),
        (429, RobotsVerdict.UNREACHABLE),
        (500, RobotsVerdict.UNREACHABLE),
        (503, RobotsVerdict.UNREACHABLE),
        (999, RobotsVerdict.UNREACHABLE),
    ],
)
async def test_status_says_what_binds(status: int, verdict: RobotsVerdict, make_gate, site: Site) -> None:
    site.status, site.body = status, b"" if status in (204, 304) else b"User-agent: *\nDisallow: /"
    evidence = await check(await make_gate(), site.at("/a"))
    assert (evidence.verdict, evidence.status, evidence.line) == (verdict, status, None)


@pytest.mark.parametrize(
    "body",
    [b"<html><pre>\nUser-agent: *\nDisallow: /\n</pre>", bytes(range(256)) * 3000, b""],
    ids=["page", "binary", "empty"],
)
async def test_what_is_no_robots_txt_forbids_nothing(body: bytes, make_gate, site: Site, store: StoreApi, until) -> None:
    site.body = body
    assert (await check(await make_gate(), site.at("/a"))).verdict is RobotsVerdict.ALLOWED
    await until(lambda: site.base in store.files)
    assert "\x00" not in store.files[site.base].text


async def test_endless_file_is_cut_off_and_obeyed(make_gate, serve_raw, until) -> None:
    sent = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nUser-agent: *\nDisallow: /private\n")
        while True:
            writer.write(b"# more\n" * 1000)
            sent.append(7000)
            await writer.drain()

    origin = await serve_raw(play)
    gate = await make_gate()
    assert (await check(gate, at(origin.url("/private")))).verdict is RobotsVerdict.DISALLOWED
    assert (await check(gate, at(origin.url("/b")))).verdict is RobotsVerdict.ALLOWED
    assert sum(sent) < 64 * ROBOTS_LIMIT_BYTES


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PRIVATE.encode())),
        ("gzip", gzip.compress(PRIVATE.encode() + b"\n#" + bytes(50_000_000))),
        ("gzip", gzip.compress(PRIVATE.encode()) + gzip.compress(b"") * 200_000),
        ("", PRIVATE.encode()),
    ],
    ids=["small", "bomb", "flood", "none"],
)
async def test_compressed_file_is_decoded_as_far_as_it_is_read(coding: str, body: bytes, make_gate, site: Site) -> None:
    site.headers, site.body = {"Content-Encoding": coding} if coding else {}, body
    assert (await check(await make_gate(), site.at("/private"))).verdict is RobotsVerdict.DISALLOWED


async def test_file_in_a_coding_that_it_is_not_in_is_unreachable(make_gate, site: Site) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    assert (await check(await make_gate(), site.at("/open"))).verdict is RobotsVerdict.UNREACHABLE


async def test_redirects_lead_elsewhere_but_the_rules_are_of_the_first_origin(make_gate, site: Site, serve) -> None:
    async def move(request: web.Request) -> web.Response:
        left = int(request.query.get("left", "4"))
        raise web.HTTPFound(f"/robots.txt?left={left - 1}" if left else f"{site.base}/robots.txt")

    base = await serve({"/robots.txt": move}, address="127.0.0.2")
    evidence = await check(await make_gate(), at(f"{base}/private"))
    assert (evidence.verdict, evidence.url) == (RobotsVerdict.DISALLOWED, f"{base}/robots.txt")


async def test_redirect_loop_is_unavailable(make_gate, serve) -> None:
    async def loop(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/robots.txt")

    evidence = await check(await make_gate(), at(await serve({"/robots.txt": loop}) + "/a"))
    assert (evidence.verdict, evidence.status) == (RobotsVerdict.UNAVAILABLE, 302)


@pytest.mark.parametrize("location", ["http://10.0.0.1/robots.txt", "ftp://x.example/", "http://["])
async def test_redirect_to_a_refused_target_is_unreachable_and_shown(location: str, make_gate, serve) -> None:
    async def move(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    log, base = EvidenceLog(), await serve({"/robots.txt": move})
    evidence = await (await make_gate()).check(at(f"{base}/a"), log=log)
    assert evidence.verdict is RobotsVerdict.UNREACHABLE
    assert log.hops[-1].verdict.is_denial and log.hops[0].url == f"{base}/robots.txt"


async def test_refused_origin_is_refused_as_its_page_would_be(make_gate, make_client, names, dials) -> None:
    names.answers["host.example.com"] = [["10.0.0.1"]]
    gate, log = await make_gate(client=make_client(lookup=names, open_socket=dials)), EvidenceLog()
    with pytest.raises(ExchangeFailed) as refused:
        await gate.check(at("http://host.example.com/a"), log=log)
    assert refused.value.error.type is ErrorType.REFUSED_ADDRESS
    assert log.hops[-1].verdict == "deny_private" and log.hops[-1].addresses == ["10.0.0.1"]
    assert dials.opened == 0 and len(names.asked) == 1


async def test_network_failure_ends_the_attempt_and_is_soon_forgotten(make_gate, make_client, names, moment) -> None:
    gate = await make_gate(client=make_client(lookup=names))
    for _ in range(2):
        with pytest.raises(ExchangeFailed) as failed:
            await check(gate, at("http://nowhere.example.com/a"))
        assert failed.value.error.type is ErrorType.DNS
    assert len(names.asked) == 1 and count(gate, "process", "failed") == 1
    moment.move(seconds=FAILURE_SECONDS)
    with pytest.raises(ExchangeFailed):
        await check(gate, at("http://nowhere.example.com/a"))
    assert len(names.asked) == 2
    assert gate.asked_again_at(at("http://nowhere.example.com/a")) is None


async def _hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    pass


async def _silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nUser-agent: *")


@pytest.mark.parametrize(
    ("play", "error"),
    [(_hang_up, ErrorType.PROTOCOL), (_silence, ErrorType.TIMEOUT), (_half, ErrorType.PROTOCOL)],
)
async def test_origin_that_answers_badly_fails_the_attempt(play: Any, error: ErrorType, make_gate, serve_raw) -> None:
    gate = await make_gate(lookup_seconds=0.3)
    with pytest.raises(ExchangeFailed) as failed:
        await check(gate, at((await serve_raw(play)).url("/a")))
    assert failed.value.error.type is error


async def test_file_is_asked_for_again_after_a_day(make_gate, site: Site, moment: Moment) -> None:
    gate = await make_gate()
    await check(gate, site.at("/a"))
    moment.move(hours=23, minutes=59)
    await check(gate, site.at("/a"))
    assert site.visits == 1
    site.body = b"User-agent: *\nDisallow: /a"
    moment.move(minutes=1)
    assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.DISALLOWED
    assert site.visits == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("public, max-age=3600", 3600),
        ("max-age=1", 600),
        ("max-age=99999999", 86400),
        ("s-maxage=3600", 86400),
        ("no-cache", 86400),
    ],
)
async def test_max_age_shortens_within_bounds(value: str, seconds: int, make_gate, site, store, moment, until) -> None:
    site.headers = {"Cache-Control": value}
    await check(await make_gate(), site.at("/a"))
    await until(lambda: site.base in store.files)
    assert store.files[site.base].expires_at == moment.now + timedelta(seconds=seconds)


async def test_unreachable_is_left_alone_twice_as_long_each_time(make_gate, site: Site, moment: Moment) -> None:
    site.status, gate = 503, await make_gate()
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.UNREACHABLE
        assert gate.asked_again_at(site.at("/a")) == moment.now + timedelta(minutes=minutes)
        visits = site.visits
        moment.move(minutes=minutes, seconds=-1)
        assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.UNREACHABLE and site.visits == visits
        moment.move(seconds=1)
    site.status = 200
    assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.ALLOWED
    assert gate.asked_again_at(site.at("/a")) is None


@pytest.mark.parametrize(("value", "minutes"), [("600", 10), ("5", 1), ("86400", 60)])
async def test_retry_after_is_honoured_within_the_hour(value: str, minutes: int, make_gate, site, moment) -> None:
    site.status, site.headers, gate = 429, {"Retry-After": value}, await make_gate()
    await check(gate, site.at("/a"))
    assert gate.asked_again_at(site.at("/a")) == moment.now + timedelta(minutes=minutes)


@pytest.mark.parametrize("has_store", [True, False])
async def test_expired_copy_serves_while_the_origin_is_unreachable(has_store, make_gate, site, store, moment, until) -> None:
    gate = await make_gate()
    first = await check(gate, site.at("/private"))
    await until(lambda: site.base in store.files)
    store.status = None if has_store else 500
    moment.move(days=2)
    site.status = 503
    again = await check(gate, site.at("/private"))
    assert again == first and site.visits == 2 and count(gate, "origin", "stale") == 1
    await check(gate, site.at("/private"))
    assert site.visits == 2
    moment.move(minutes=1)
    await check(gate, site.at("/private"))
    assert site.visits == 3
    if has_store:
        assert store.files[site.base].availability is RobotsAvailability.FOUND
    moment.move(days=30)
    assert (await check(gate, site.at("/private"))).verdict is RobotsVerdict.UNREACHABLE


async def test_copy_of_another_worker_serves_while_the_origin_is_unreachable(make_gate, site, store, moment) -> None:
    store.files[site.base] = RobotsFile(
        origin=site.base,
        availability=RobotsAvailability.FOUND,
        status=200,
        text=PRIVATE,
        fetched_at=moment.now - 3 * DAY,
        expires_at=moment.now - 2 * DAY,
    )
    site.status = 500
    evidence = await check(await make_gate(), site.at("/private"))
    assert (evidence.verdict, evidence.fetched_at) == (RobotsVerdict.DISALLOWED, moment.now - 3 * DAY)


async def test_workers_share_a_file_through_the_store(make_gate, site, store, until) -> None:
    await check(await make_gate(), site.at("/private"))
    await until(lambda: site.base in store.files)
    other = await make_gate()
    assert (await check(other, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    assert site.visits == 1 and count(other, "store", "found") == 1


async def test_stored_file_is_trusted_for_a_day_at_most(make_gate, site, store, moment) -> None:
    store.files[site.base] = RobotsFile(
        origin=site.base,
        availability=RobotsAvailability.UNAVAILABLE,
        fetched_at=moment.now,
        expires_at=moment.now + 300 * DAY,
    )
    gate = await make_gate()
    assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.UNAVAILABLE and site.visits == 0
    store.files.clear()
    moment.move(days=1)
    await check(gate, site.at("/a"))
    assert site.visits == 1


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_store_that_is_away_is_done_without_and_left_alone(status, make_gate, site, store, moment) -> None:
    store.status, gate = status, await make_gate()
    assert (await check(gate, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    assert count(gate, "store", "away") == 1
    gate._kept.forget(site.base)
    await check(gate, site.at("/private"))
    assert store.asked == ["GET"] and site.visits == 2
    gate._kept.forget(site.base)
    moment.move(seconds=LEAVE_ALONE_SECONDS)
    store.status = None
    await check(gate, site.at("/private"))
    assert store.asked[1] == "GET"


async def test_store_that_hangs_costs_its_short_timeout(make_gate, site, store) -> None:
    store.gate = asyncio.Event()
    gate = await make_gate(store_seconds=0.2)
    async with asyncio.timeout(5):
        assert (await check(gate, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    store.gate.set()


async def test_failure_does_not_replace_a_copy_that_could_not_be_seen(make_gate, site, store, moment, until) -> None:
    store.status, site.status, gate = 500, 503, await make_gate()
    await check(gate, site.at("/a"))
    store.status = None
    moment.move(seconds=LEAVE_ALONE_SECONDS)
    assert not gate._sharing and store.asked == ["GET"]


async def test_many_attempts_ask_once(make_gate, site: Site, store: StoreApi, until) -> None:
    site.gate = asyncio.Event()
    gate = await make_gate()
    attempts = [asyncio.create_task(check(gate, site.at(f"/private/{number}"))) for number in range(200)]
    await until(lambda: site.visits)
    site.gate.set()
    verdicts = {(await attempt).verdict for attempt in attempts}
    assert verdicts == {RobotsVerdict.DISALLOWED}
    assert (site.visits, store.asked.count("GET"), count(gate, "process", "shared")) == (1, 1, 199)


async def test_origins_differ_by_scheme_name_and_port(make_gate, serve) -> None:
    one, two = Site(), Site(body=b"")
    one.base, two.base = await serve({"/robots.txt": one.answer}), await serve({"/robots.txt": two.answer})
    gate = await make_gate()
    assert (await check(gate, one.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    assert (await check(gate, two.at("/private"))).verdict is RobotsVerdict.ALLOWED


async def test_attempt_that_gives_up_does_not_end_the_lookup_of_others(make_gate, site: Site, until) -> None:
    site.gate = asyncio.Event()
    gate = await make_gate()
    first = asyncio.create_task(check(gate, site.at("/private")))
    await until(lambda: site.visits)
    second = asyncio.create_task(check(gate, site.at("/private")))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    site.gate.set()
    assert (await second).verdict is RobotsVerdict.DISALLOWED and site.visits == 1


async def test_lookup_that_nobody_waits_for_is_kept(make_gate, site: Site, until) -> None:
    site.gate = asyncio.Event()
    gate = await make_gate()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await check(gate, site.at("/private"))
    site.gate.set()
    await until(lambda: not gate._lookups)
    assert (await check(gate, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED and site.visits == 1


async def test_shared_failure_reaches_each_attempt_as_its_own(make_gate, serve_raw) -> None:
    origin = await serve_raw(_silence)
    gate = await make_gate(lookup_seconds=0.2)
    logs = [EvidenceLog() for _ in range(3)]
    failures = await asyncio.gather(
        *(gate.check(at(origin.url("/a")), log=log) for log in logs), return_exceptions=True
    )
    assert len({id(failure) for failure in failures}) == 3 and len(origin.connections) == 1
    assert {failure.error.type for failure in failures if isinstance(failure, ExchangeFailed)} == {ErrorType.TIMEOUT}
    assert [len(log.hops) for log in logs] == [1, 1, 1]


async def test_memory_forgets_the_origin_that_was_not_asked_for_longest(make_gate, serve, store) -> None:
    sites = [Site(), Site(), Site()]
    for site in sites:
        site.base = await serve({"/robots.txt": site.answer})
    gate = await make_gate(memory_limit=2 * 300 + 99)
    for number in (0, 1, 0, 2):
        await check(gate, sites[number].at("/a"))
    store.status = 500
    for number in (0, 2, 1):
        await check(gate, sites[number].at("/a"))
    assert [site.visits for site in sites] == [1, 2, 1] and len(gate._kept) == 2


async def test_closing_ends_a_lookup(make_gate, site: Site, until) -> None:
    site.gate = asyncio.Event()
    gate = await make_gate()
    waiting = asyncio.create_task(check(gate, site.at("/a")))
    await until(lambda: site.visits)
    await gate.close()
    await asyncio.wait([waiting], timeout=5)
    assert waiting.done()
    site.gate.set()


async def test_stores_session_follows_no_redirect_and_checks_the_origin(serve, moment: Moment) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.query["origin"] == "http://moved.example":
            raise web.HTTPFound("/elsewhere")
        file = RobotsFile(
            origin="http://other.example",
            availability=RobotsAvailability.UNAVAILABLE,
            fetched_at=moment.now,
            expires_at=moment.now + DAY,
        )
        return web.json_response(text=file.model_dump_json())

    url = await serve({"/internal/v1/robots": answer, "/elsewhere": answer})
    async with aiohttp.ClientSession() as session:
        store = RobotsStore(StoreAddress(url=url, token="secret"), session=session, clock=moment)
        stored = await store.get("http://mine.example")
        assert stored.file is None and not stored.is_away
        assert (await store.get("http://moved.example")).is_away
    assert asked == ["/internal/v1/robots"] * 2
