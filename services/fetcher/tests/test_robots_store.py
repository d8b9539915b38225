"""How long an answer about robots.txt is good: what workers share through the store, and what serves when nobody answers."""

import asyncio
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from common.contracts.fetches import RobotsVerdict
from common.contracts.robots import RobotsAvailability, RobotsFile
from robots_world import PRIVATE, Moment, Site, check, count

from fetcher.egress.evidence import EvidenceLog
from fetcher.politeness.robots_store import LEAVE_ALONE_SECONDS, RobotsStore, Stored
from fetcher.report import StoreAddress

pytest_plugins = ["robots_fixtures"]

DAY = timedelta(hours=24)


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


def stored(origin: str, moment: Moment, **fields: Any) -> RobotsFile:
    """What the store has of an origin: a copy that was fetched a day ago and has just expired, unless told otherwise."""
    times = {"fetched_at": moment.now - DAY, "expires_at": moment.now}
    return RobotsFile(**{"origin": origin, "availability": RobotsAvailability.FOUND, "status": 200} | times | fields)


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
    store.files[site.base] = stored(site.base, moment, text=PRIVATE, fetched_at=moment.now - 3 * DAY)
    site.status = 500
    evidence = await check(await make_gate(), site.at("/private"))
    assert (evidence.verdict, evidence.fetched_at) == (RobotsVerdict.DISALLOWED, moment.now - 3 * DAY)


@pytest.mark.parametrize("has_store", [True, False])
async def test_origin_whose_copy_serves_is_left_alone_twice_as_long_too(has_store, make_gate, site, store, moment, until) -> None:
    gate = await make_gate()
    await check(gate, site.at("/private"))
    await until(lambda: site.base in store.files)
    store.files.clear()
    if has_store:
        store.files[site.base] = stored(site.base, moment, text=PRIVATE)
    store.status = None if has_store else 500
    weight = gate._kept._weight
    moment.move(days=1)
    site.status = 503
    for visits, minutes in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=2):
        assert (await check(gate, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED and site.visits == visits
        moment.move(minutes=minutes, seconds=-1)
        await check(gate, site.at("/private"))
        assert site.visits == visits and gate._kept._weight == weight
        moment.move(seconds=1)
    site.status = 200
    await check(gate, site.at("/private"))
    site.status = 503
    moment.move(days=1)
    await check(gate, site.at("/private"))
    moment.move(minutes=1)
    visits = site.visits
    await check(gate, site.at("/private"))
    assert site.visits == visits + 1


@pytest.mark.parametrize(("before", "after"), [(4, 8), (0.1, 1), (31, 60), (300, 60)])
async def test_worker_goes_on_from_the_wait_that_another_one_stored(before, after, make_gate, site, store, moment) -> None:
    store.files[site.base] = stored(
        site.base,
        moment,
        availability=RobotsAvailability.UNREACHABLE,
        fetched_at=moment.now - timedelta(minutes=before),
    )
    site.status, gate = 503, await make_gate()
    assert (await check(gate, site.at("/a"))).verdict is RobotsVerdict.UNREACHABLE
    assert gate.asked_again_at(site.at("/a")) == moment.now + timedelta(minutes=after)


async def test_copy_of_ours_serves_though_another_worker_found_none(make_gate, site, store, moment, until) -> None:
    gate = await make_gate()
    first = await check(gate, site.at("/private"))
    await until(lambda: site.base in store.files)
    moment.move(days=1)
    store.files[site.base] = stored(
        site.base,
        moment,
        availability=RobotsAvailability.UNREACHABLE,
        fetched_at=moment.now,
        expires_at=moment.now + timedelta(minutes=1),
    )
    assert await check(gate, site.at("/private")) == first
    moment.move(seconds=59)
    await check(gate, site.at("/private"))
    assert site.visits == 1 and gate.asked_again_at(site.at("/private")) is None
    moment.move(seconds=1)
    await check(gate, site.at("/private"))
    assert site.visits == 2


@pytest.mark.parametrize("newer", ["ours", "stored"])
async def test_newest_copy_serves_while_the_origin_is_unreachable(newer, make_gate, site, store, moment, until) -> None:
    gate = await make_gate()
    ours = (await check(gate, site.at("/private"))).fetched_at
    await until(lambda: site.base in store.files)
    fetched_at = moment.now + timedelta(hours=-1 if newer == "ours" else 1)
    moment.move(days=2)
    store.files[site.base] = stored(site.base, moment, text=PRIVATE, fetched_at=fetched_at)
    site.status = 503
    evidence = await check(gate, site.at("/private"))
    assert evidence.fetched_at == (ours if newer == "ours" else fetched_at)
    assert evidence.verdict is RobotsVerdict.DISALLOWED


async def test_copy_that_serves_is_extended_for_all_workers(make_gate, site, store, moment, until) -> None:
    store.files[site.base] = old = stored(site.base, moment, text=PRIVATE)
    site.status = 503
    await check(await make_gate(), site.at("/private"))
    await until(lambda: store.files[site.base] != old)
    assert store.files[site.base] == old.model_copy(update={"expires_at": moment.now + timedelta(minutes=1)})
    other = await make_gate()
    assert (await check(other, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED and site.visits == 1


async def test_refused_redirect_is_shown_also_when_a_copy_serves(make_gate, site, store, moment) -> None:
    store.files[site.base] = stored(site.base, moment, text=PRIVATE)
    site.status, site.headers, log = 302, {"Location": "http://[::1]:1/robots.txt"}, EvidenceLog()
    assert (await (await make_gate()).check(site.at("/private"), log=log)).verdict is RobotsVerdict.DISALLOWED
    assert [hop.verdict.is_denial for hop in log.hops] == [False, True]


@pytest.mark.parametrize(("age", "verdict"), [(-1, RobotsVerdict.DISALLOWED), (0, RobotsVerdict.UNREACHABLE)])
async def test_copy_serves_for_thirty_days(age: int, verdict: RobotsVerdict, make_gate, site, store, moment) -> None:
    fetched_at = moment.now - timedelta(days=30, seconds=age)
    store.files[site.base] = stored(site.base, moment, text=PRIVATE, fetched_at=fetched_at)
    site.status = 503
    assert (await check(await make_gate(), site.at("/private"))).verdict is verdict


async def test_unreachable_is_told_to_other_workers(make_gate, site, store, moment, until) -> None:
    site.status = 503
    await check(await make_gate(), site.at("/a"))
    await until(lambda: site.base in store.files)
    assert store.files[site.base].availability is RobotsAvailability.UNREACHABLE
    assert (await check(await make_gate(), site.at("/a"))).verdict is RobotsVerdict.UNREACHABLE and site.visits == 1


async def test_file_that_the_store_does_not_take_is_counted(make_gate, site, store, until) -> None:
    gate = await make_gate()
    site.gate = asyncio.Event()
    checking = asyncio.create_task(check(gate, site.at("/private")))
    await until(lambda: site.visits)
    store.status = 500
    site.gate.set()
    assert (await checking).verdict is RobotsVerdict.DISALLOWED
    await until(lambda: gate.registry.get_sample_value("fetchwork_robots_unshared_total") == 1)
    assert await gate._store.get(site.base) == Stored(is_away=True) and store.asked == ["GET", "PUT"]
    await until(lambda: not gate._sharing)


async def test_workers_share_a_file_through_the_store(make_gate, site, store, until) -> None:
    await check(await make_gate(), site.at("/private"))
    await until(lambda: site.base in store.files)
    other = await make_gate()
    assert (await check(other, site.at("/private"))).verdict is RobotsVerdict.DISALLOWED
    assert site.visits == 1 and count(other, "store", "found") == 1


async def test_log_says_whether_the_origin_was_asked_just_now(make_gate, site, store, until) -> None:
    gate, other = await make_gate(), await make_gate()
    asked, recalled, shared = EvidenceLog(), EvidenceLog(), EvidenceLog()
    await gate.check(site.at("/a"), log=asked)
    await gate.check(site.at("/a"), log=recalled)
    await until(lambda: store.files)
    await other.check(site.at("/a"), log=shared)
    assert (asked.has_asked_robots, recalled.has_asked_robots, shared.has_asked_robots) == (True, False, False)


async def test_stored_file_is_trusted_for_a_day_at_most(make_gate, site, store, moment) -> None:
    store.files[site.base] = stored(
        site.base,
        moment,
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


async def test_stores_session_follows_no_redirect_and_checks_the_origin(serve, moment: Moment) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        origin = request.query.get("origin")
        if origin in (None, "http://moved.example"):
            raise web.HTTPTemporaryRedirect("/elsewhere")
        if origin == "http://unreadable.example":
            return web.json_response({"origin": origin})
        file = stored("http://other.example", moment)
        return web.json_response(text=file.model_dump_json(), status=500 if origin == "http://broken.example" else 200)

    url = await serve({"/internal/v1/robots": answer, "/elsewhere": answer})
    async with aiohttp.ClientSession() as session:
        store = RobotsStore(StoreAddress(url=f"{url}/", token="secret"), session=session, clock=moment)
        assert await store.get("http://mine.example") == Stored()
        for name in ("moved", "broken", "unreadable"):
            assert await store.get(f"http://{name}.example") == Stored(is_away=True)
            moment.move(seconds=LEAVE_ALONE_SECONDS)
        assert not await store.put(stored("http://moved.example", moment))
    assert asked == ["/internal/v1/robots"] * 5
