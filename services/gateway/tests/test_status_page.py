"""The status page and who may see it, over a real gateway, a real events Redis and a played store."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from common.chassis.health import HealthReport
from common.clock import utc_now
from common.contracts.fetches import ErrorType
from common.contracts.keys import Scope
from common.contracts.tenants import DEFAULT_TENANT
from common.streams.connection import connect_redis
from gateway_words import KEY, key_record, new_key
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError
from status_words import busy_host, busy_overview, failure, sample, sign_in

from gateway.access.sessions import Sessions, session_of
from gateway.errors import EventsUnavailable, StoreUnavailable
from gateway.http.same_origin import is_cross_origin
from gateway.metrics import Gate, GatewayMetrics
from gateway.principal import Principal
from gateway.problems.answers import Problem
from gateway.status import words
from gateway.status.overview import OverviewReader
from gateway.status.page import Facts, status_page
from gateway.status.plots import HEIGHT, draw
from gateway.status.traffic import last_hour, total

NOW = datetime(2031, 5, 1, 12, 30, 20, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


@pytest.fixture
async def browser(gateway: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a key that keeps cookies."""
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=10) as opened:
        yield opened


async def test_strangers_see_whether_it_is_ready_and_a_form(gateway: Any, browser: httpx2.AsyncClient) -> None:
    gateway.store.overview = busy_overview()
    page = await browser.get("/")
    assert page.status_code == 200 and "<h1>Ready</h1>" in page.text
    assert 'action="/session"' in page.text and 'href="/docs"' in page.text and 'href="/problems"' in page.text
    assert "news.example" not in page.text and "1,284" not in page.text
    assert page.headers["cache-control"] == "no-store" and "set-cookie" not in page.headers
    assert not gateway.store.asked, "a stranger costs the store nothing"


async def test_an_operator_signs_in_sees_everything_and_signs_out(gateway: Any, browser: httpx2.AsyncClient) -> None:
    gateway.store.overview = busy_overview()
    answer = await sign_in(browser, KEY)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    assert re.fullmatch(
        r"fetchwork_session=[\w-]{43}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", answer.headers["set-cookie"]
    )
    page = await browser.get("/")
    assert "<h1>Working</h1>" in page.text and "2 workers make them" in page.text
    pace, error = "one each 5 s, its robots.txt", "Nobody answered at that address"
    for shown in ("news.example", "≈ 1,040", pace, error, "1,284", "of 32 slots"):
        assert shown in page.text, shown
    assert KEY not in page.text and page.headers["cache-control"] == "no-store"
    secret = browser.cookies["fetchwork_session"]
    ended = await browser.post("/session/end", headers={"Sec-Fetch-Site": "same-origin"})
    assert ended.status_code == 303 and "Max-Age=0" in ended.headers["set-cookie"]
    stale = await browser.get("/", headers={"Cookie": f"fetchwork_session={secret}"})
    assert "Sign in" in stale.text and "news.example" not in stale.text


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [("wrong", 401, "no key of this deployment"), ("", 401, "no key"), (KEY + "x", 401, "no key"), ("é ü", 401, "no key")],
)
async def test_a_wrong_key_is_told_so_and_counted(
    gateway: Any, browser: httpx2.AsyncClient, key: str, status: int, words: str
) -> None:
    async def refused() -> int:
        async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
            text = (await operator.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("fetchwork_keys_refused_total{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in lines)

    before = await refused()
    answer = await sign_in(browser, key)
    assert answer.status_code == status and words in answer.text and "set-cookie" not in answer.headers
    assert await refused() == before + 1
    assert not key or f'"{key}"' not in answer.text


async def test_a_key_needs_the_scope_admin(gateway: Any, browser: httpx2.AsyncClient) -> None:
    key = new_key()
    gateway.store.keys.put(key_record(key, scopes=frozenset(Scope) - {Scope.ADMIN}, now=utc_now()))
    answer = await sign_in(browser, key.text)
    assert answer.status_code == 403 and "scope admin" in answer.text and "set-cookie" not in answer.headers


async def test_a_session_ends_with_its_key_and_opens_nothing_of_the_api(gateway: Any, browser: httpx2.AsyncClient) -> None:
    gateway.store.overview = busy_overview()
    key = new_key()
    gateway.store.keys.put(key_record(key, now=utc_now()))
    assert (await sign_in(browser, key.text)).status_code == 303
    assert "news.example" in (await browser.get("/")).text
    for path in ("/v1/hosts", "/v1/key", "/v1/events", "/v1/fetches"):
        assert (await browser.get(path)).status_code == 401, path
    gateway.store.keys.put(gateway.store.keys.records[key.id], revoked_at=utc_now())
    async with asyncio.timeout(10):
        while "news.example" in (await browser.get("/")).text:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("path", ["/session", "/session/end"])
@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.test"}, {"Origin": "null"}],
)
async def test_other_sites_sign_nobody_in_or_out(browser: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> None:
    await sign_in(browser, KEY)
    answer = await browser.post(path, data={"key": KEY}, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers
    assert "Sign out" in (await browser.get("/")).text


def test_browsers_say_where_a_form_comes_from() -> None:
    here = {"host": "a.test:8080"}
    assert not is_cross_origin(here) and not is_cross_origin(here | {"sec-fetch-site": "same-origin"})
    for scheme in ("http", "https"):
        assert not is_cross_origin(here | {"origin": f"{scheme}://a.test:8080"})
    assert is_cross_origin(here | {"origin": "http://a.test"}) and is_cross_origin(here | {"sec-fetch-site": "none"})


async def test_whatever_comes_from_outside_is_shown_and_never_run(gateway: Any, browser: httpx2.AsyncClient) -> None:
    hosts = [busy_host(HOSTILE, 3)]
    gateway.store.overview = busy_overview(hosts=hosts, failures=[failure(HOSTILE, ErrorType.DNS, at=utc_now(), detail=HOSTILE)])
    await sign_in(browser, KEY)
    page = (await browser.get("/", headers={"Host": 'x"><script>'})).text
    assert "<script>alert" not in page and "<img" not in page and "49" not in re.findall(r">49<", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3 and "{{ 7 * 7 }}" in page
    assert 'href="/v1/hosts/%3Cscript' in page


async def test_without_the_store_the_page_says_so(gateway: Any, browser: httpx2.AsyncClient) -> None:
    await sign_in(browser, KEY)
    gateway.store.is_broken = True
    page = await browser.get("/")
    assert page.status_code == 200 and "The store does not answer" in page.text
    assert "<h1>Working, with trouble</h1>" in page.text and "Sign out" in page.text


async def test_without_workers_the_page_says_so(gateway: Any, browser: httpx2.AsyncClient) -> None:
    gateway.store.overview = busy_overview(workers=0, worker_slots=0)
    await sign_in(browser, KEY)
    assert "No worker announces slots" in (await browser.get("/")).text


def test_closed_gates_and_failed_checks_are_told() -> None:
    metrics = GatewayMetrics()
    for gate in Gate:
        metrics.note_gate(gate, is_closed=True)
    metrics.note_gate(Gate.WAITS, is_closed=False)
    for reason, headline in ((None, "Working, with trouble"), ("ConnectionError", "Not accepting fetches")):
        report = HealthReport(results={"events": reason})
        facts = Facts(
            report=report, overview=busy_overview(), closed_gates=metrics.closed_gates, name="key:1", address="http://a.test"
        )
        page = bytes(status_page(facts).body).decode()
        assert f"<h1>{headline}</h1>" in page and page.count("This gateway refuses") == len(Gate) - 1
        assert ("The check of events failed: ConnectionError." in page) is (reason is not None)


async def test_a_fresh_system_says_how_to_begin(gateway: Any, browser: httpx2.AsyncClient) -> None:
    await sign_in(browser, KEY)
    page = (await browser.get("/")).text
    assert f"curl -sS {gateway.url}/v1/fetches" in page and "Nothing is queued." in page and "No fetch has failed." in page
    gateway.store.overview = busy_overview()
    assert "curl" not in (await browser.get("/")).text


async def test_viewers_share_one_reading_and_a_failure_too() -> None:
    class Store:
        readings = 0

        async def read_overview(self) -> Any:
            self.readings += 1
            await asyncio.sleep(0)
            if self.readings > 1:
                raise StoreUnavailable("away")
            return busy_overview()

    store: Any = Store()
    reader = OverviewReader(store, max_age_seconds=60)
    answers = await asyncio.gather(*(reader.read() for _ in range(50)))
    assert store.readings == 1 and all(answer is answers[0] is not None for answer in answers)
    impatient = OverviewReader(store, max_age_seconds=0.0)
    assert await impatient.read() is None and store.readings == 2


async def test_sessions_are_bounded_expire_and_are_kept_as_digests(
    events: Redis, events_as: Callable[[str], Awaitable[Redis]]
) -> None:
    """With the rights that a gateway has in containers."""
    user = await events_as("gateway")
    sessions = Sessions(user, ttl_seconds=60, per_key_limit=2)
    maker = Principal(actor="key:1", tenant="acme", key_id="0123456789ab", digest="d" * 64)
    secret = await sessions.make_secret(maker)
    holder = await sessions.find_holder(secret)
    assert holder == Principal(
        actor="key:1", tenant="acme", key_id="0123456789ab", digest="d" * 64, scopes=frozenset({Scope.ADMIN})
    )
    keys = [key async for key in events.scan_iter("fetchwork:v1:session:*")]
    assert len(keys) == 2
    for key in keys:
        assert 0 < await events.ttl(key) <= 60 and secret.encode() not in key + await events.get(key)
    await sessions.make_secret(maker)
    with pytest.raises(Problem, match="2 sessions"):
        await sessions.make_secret(maker)
    await sessions.forget(secret)
    assert await sessions.find_holder(secret) is None
    with pytest.raises(NoPermissionError):
        await user.get("fetchwork:v1:elsewhere")


async def test_without_redis_nobody_is_let_in(events_url: str) -> None:
    away = connect_redis("redis://127.0.0.1:9")
    sessions = Sessions(away, ttl_seconds=60, per_key_limit=2)
    with pytest.raises(EventsUnavailable):
        await sessions.make_secret(Principal(actor="key:1", tenant=DEFAULT_TENANT))
    with pytest.raises(EventsUnavailable):
        await sessions.find_holder("x")
    await away.aclose()


def test_a_session_is_read_from_the_cookie_alone() -> None:
    assert session_of("a=b; fetchwork_session=abc; c=d") == "abc"
    assert session_of(None) is None and session_of("") is None and session_of("fetchwork_session=") is None
    assert session_of("fetchwork_session=" + "x" * 101) is None and session_of("other=1") is None


async def test_the_key_is_in_no_log(gateway: Any, browser: httpx2.AsyncClient) -> None:
    key = new_key()
    await sign_in(browser, key.text)
    await sign_in(browser, KEY)
    secret = browser.cookies["fetchwork_session"]
    await browser.get("/")
    log = gateway.log.read_text()
    assert key.text not in log and KEY not in log and secret not in log


def test_minutes_are_differences_of_samples_and_gaps_are_spread() -> None:
    beginning = NOW.replace(second=0)
    samples = [
        sample(beginning - timedelta(minutes=5), accepted=100, succeeded=50),
        sample(beginning - timedelta(minutes=1), accepted=110, succeeded=58, failed=3, queued=7),
        sample(beginning, accepted=115, succeeded=58, failed=3, queued=9),
    ]
    overview = busy_overview(samples=samples, now=sample(NOW, accepted=116, succeeded=60, failed=3))
    minutes = last_hour(overview)
    assert len(minutes) == 60 and minutes[:54] == [None] * 54
    shown = [minute for minute in minutes if minute is not None]
    assert [minute.accepted for minute in shown] == [2, 3, 2, 3, 5, 1]
    assert [minute.succeeded for minute in shown] == [2, 2, 2, 2, 0, 2]
    assert (total(minutes, "accepted"), total(minutes, "finished")) == (16, 13)
    assert shown[-1].at == beginning and shown[-1].queued == 9
    restored = busy_overview(samples=samples[:1], now=sample(NOW, accepted=3))
    assert total(last_hour(restored), "accepted") == 0


def test_bars_stay_in_their_plot_and_small_ones_are_seen() -> None:
    minutes = last_hour(busy_overview())
    plot = draw("Finished", minutes, ("succeeded", "failed", "cancelled", "expired"))
    assert plot.width == 600 and plot.top == 200
    assert all(0 <= bar.y and bar.y + bar.height <= HEIGHT + 0.02 and bar.height >= 2 for bar in plot.bars)
    assert draw("None", [None] * 60, ("accepted",)).bars == []


def test_every_error_has_words_and_durations_are_short() -> None:
    assert set(words.ERRORS) == set(ErrorType)
    lengths = (0, 0.04, 1.5, 9.99, 59.7, 60, 200, 3600, 3599, 90_000, 180_000)
    told = ["0 s", "0.1 s", "1.5 s", "10 s", "1 min", "1 min", "3 min 20 s", "1 h", "59 min 59 s", "1 d 1 h", "2 d 2 h"]
    assert [words.duration(seconds) for seconds in lengths] == told
