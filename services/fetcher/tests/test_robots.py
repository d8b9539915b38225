"""The gate of robots.txt: what it makes of each answer, and how the attempts of one process share a lookup."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType, ResponseHead, RobotsEvidence, RobotsVerdict
from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsOrigin
from common.robots.rules import RobotsRules
from common.robots.verdicts import origin_of
from pydantic import TypeAdapter
from robots_world import PRIVATE, Moment, Site, StoreApi, at, check, count
from structlog.testing import capture_logs

from fetcher.egress.client import Exchange
from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import ExchangeFailed
from fetcher.politeness.robots import BIG_CHARACTERS, FAILURE_SECONDS
from fetcher.politeness.robots_memory import ENTRY_WEIGHT
from fetcher.politeness.robots_origin import WIRE_LIMIT_BYTES, _read_start

pytest_plugins = ["robots_fixtures"]


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


@pytest.mark.parametrize("location", ["http://[::1]:1/robots.txt", "ftp://x.example/", "http://["])
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


async def test_origin_without_connection_or_tls_fails_the_attempt(make_gate, serve, server_tls) -> None:
    untrusted = await serve({}, tls=server_tls)
    for url, error in (("http://127.0.0.1:1/a", ErrorType.CONNECT), (f"{untrusted}/a", ErrorType.TLS)):
        log = EvidenceLog()
        with pytest.raises(ExchangeFailed) as failed:
            await (await make_gate()).check(at(url), log=log)
        assert failed.value.error.type is error and len(log.hops) == 1


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
    gate = await make_gate(memory_limit=3 * ENTRY_WEIGHT + 50)  # three without their rules, two with them
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
    async with asyncio.timeout(5):
        await gate.close()
        await asyncio.wait([waiting])
    assert waiting.cancelled() and not gate._lookups
    site.gate.set()


async def test_closing_ends_what_is_being_handed_to_the_store(make_gate, site: Site, store: StoreApi, until) -> None:
    site.gate = asyncio.Event()
    gate = await make_gate(store_seconds=60)
    checking = asyncio.create_task(check(gate, site.at("/a")))
    await until(lambda: site.visits)
    store.gate = asyncio.Event()
    site.gate.set()
    await checking
    await until(lambda: "PUT" in store.asked)
    handing = list(gate._sharing)
    async with asyncio.timeout(5):
        await gate.close()
    assert [task.cancelled() for task in handing] == [True]
    store.gate.set()


async def test_broken_lookup_fails_its_waiters_and_is_forgotten(make_gate, site: Site) -> None:
    gate = await make_gate()
    whole, gate._client = gate._client, None  # type: ignore[assignment]
    with capture_logs() as logs:
        results = await asyncio.gather(*(check(gate, site.at("/a")) for _ in range(3)), return_exceptions=True)
    assert [(entry["event"], entry["error"]) for entry in logs] == [("robots lookup broke", "AttributeError")]
    assert [type(result) for result in results] == [AttributeError] * 3 and not gate._lookups
    gate._client = whole
    assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.ALLOWED


@pytest.mark.parametrize("is_big", [False, True])
async def test_big_file_is_read_and_matched_off_the_loop(is_big: bool, make_gate, site: Site, monkeypatch) -> None:
    threads = []
    read, is_allowed = RobotsRules.read, RobotsRules.is_allowed

    def watched_read(text: str, *, product_token: str) -> RobotsRules:
        threads.append(threading.get_ident())
        return read(text, product_token=product_token)

    def watched_match(rules: RobotsRules, url: str) -> bool:
        threads.append(threading.get_ident())
        return is_allowed(rules, url)

    # Watched and not replaced: both still do their work, and tell in which thread.
    monkeypatch.setattr(RobotsRules, "read", watched_read)
    monkeypatch.setattr(RobotsRules, "is_allowed", watched_match)
    site.body += b"\nDisallow: /a" * (BIG_CHARACTERS // 10 if is_big else 1)
    assert (await check(await make_gate(), site.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    assert {thread != threading.get_ident() for thread in threads} == {is_big} and len(threads) > 1


async def test_remembered_failure_keeps_no_frames(make_gate, make_client, names) -> None:
    gate = await make_gate(client=make_client(lookup=names))
    with pytest.raises(ExchangeFailed):
        await check(gate, at("http://nowhere.example.com/a"))
    failure = gate._failures.get("http://nowhere.example.com")
    assert (failure.error.__traceback__, failure.error.__cause__, failure.error.__context__) == (None, None, None)


async def test_flood_of_empty_members_ends_and_does_not_hold_the_loop() -> None:
    turns = pieces = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal pieces
        while pieces < 8:
            pieces += 1
            yield gzip.compress(b"") * (WIRE_LIMIT_BYTES // 60)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    head = ResponseHead(status=200, final_url="http://host.example/robots.txt")
    exchange = Exchange(head=head, coding="gzip", length=None, chunks=chunks())
    counting = asyncio.create_task(count_turns())
    assert await _read_start(exchange) == b""
    counting.cancel()
    assert turns > 5_000 and pieces < 5


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Host.example/a", "http://host.example"),
        ("http://host.example:80/", "http://host.example"),
        ("https://host.example:443/", "https://host.example"),
        ("https://host.example:80/", "https://host.example:80"),
        ("http://host.example:443/", "http://host.example:443"),
        ("http://[::1]:8080/a", "http://[::1]:8080"),
        ("http://[::1]/a", "http://[::1]"),
        ("http://under_score.example/a", "http://under_score.example"),
    ],
)
def test_origin_is_spelled_as_the_contract_has_it(url: str, origin: str) -> None:
    assert origin_of(at(url)) == origin
    assert TypeAdapter(RobotsOrigin).validate_python(origin) == origin


@pytest.mark.parametrize(
    ("status", "body", "is_alike"), [(404, b"", True), (200, b"", True), (200, b"User-agent: *\nDisallow: /a", False)]
)
async def test_what_holds_for_all_urls_is_judged_once(status: int, body: bytes, is_alike: bool, make_gate, site: Site) -> None:
    site.status, site.body = status, body
    gate = await make_gate()
    first, second = await check(gate, site.at("/one")), await check(gate, site.at("/two"))
    assert first == second and first.verdict.is_allowed and (first is second) is is_alike
