"""One fetch from POST to row and back, through every service, for every kind of origin."""

import asyncio
import hashlib
import json

import pytest
from driver import Driver
from origin import Origin
from system import System
from website import noise, page

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_page_arrives_with_its_exact_bytes(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/page/exact?a=1"
    document = await driver.fetch(url, headers={"X-Mine": "yes"})
    assert document["status"] == "succeeded" and document["finished_at"] and document["waiting"] is None
    response = document["response"]
    assert response["status"] == 200 and response["media_type"] == "text/html" and response["final_url"] == url
    assert response["digest"] == f"sha256:{hashlib.sha256(page('exact')).hexdigest()}"
    assert response["size_bytes"] == len(page("exact"))
    assert await driver.content(document) == page("exact")
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["fetched"]
    sent = await origin.headers("/page/exact?a=1")
    assert sent["X-Mine"] == "yes" and "traceparent" not in sent
    assert await origin.hits("/page/exact") == {"/page/exact?a=1": 1}


@pytest.mark.parametrize("count", [0, 1, 300_000, 3_000_000])
async def test_bodies_of_any_size_travel_whole(driver: Driver, origin: Origin, count: int) -> None:
    """The large ones do not fit into an event and go to the store's content endpoint first."""
    document = await driver.fetch(f"{origin.url}/bytes/{count}")
    assert document["status"] == "succeeded" and document["response"]["size_bytes"] == count
    assert await driver.content(document) == noise(count)


async def test_a_coded_body_is_stored_decoded(driver: Driver, origin: Origin) -> None:
    assert await driver.content(await driver.fetch(f"{origin.url}/gzip")) == page("gzip")


async def test_a_404_is_a_response_like_any_other(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/status/404")
    assert document["status"] == "succeeded" and document["response"]["status"] == 404
    assert await driver.content(document) == b"as you wish\n"


async def test_head_has_a_head_and_no_body(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/page/head", method="HEAD")
    assert document["status"] == "succeeded" and document["response"]["size_bytes"] == 0
    assert await driver.content(document) == b""


async def test_a_redirect_is_followed_and_told(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/redirect?to=/page/there")
    assert document["response"]["final_url"] == f"{origin.url}/page/there"
    hops = [hop.removeprefix(origin.url) for hop in document["attempts"][0]["hops"]]
    assert hops == ["/redirect?to=/page/there", "/page/there"]


async def test_a_flapping_origin_is_tried_again_until_it_answers(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/flapping/2/a", retries={"max": 3, "backoff_seconds": 0.05})
    assert document["response"]["status"] == 200
    assert [attempt["status"] for attempt in document["attempts"]] == [503, 503, 200]


async def test_when_retries_are_used_up_the_last_response_is_kept(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/flapping/9/b", retries={"max": 1, "backoff_seconds": 0.05})
    assert document["status"] == "succeeded" and document["response"]["status"] == 503
    assert await origin.hits("/flapping/9/b") == {"/flapping/9/b": 2}


NO_RETRY = {"max": 0}


@pytest.mark.parametrize(
    ("path", "error", "request_"),
    [
        ("/slow/30", "timeout", {"timeout_seconds": 0.5}),
        ("/drip/30", "timeout", {"timeout_seconds": 0.5}),
        ("/huge/8000000", "too_large", {"max_bytes": 100_000}),
        ("/loop", "too_many_redirects", {}),
        ("/cut", "protocol", {}),
        ("/redirect?to=ftp://{host}/x", "refused_scheme", {}),
    ],
)
async def test_a_bad_origin_ends_in_its_own_error(
    driver: Driver, origin: Origin, path: str, error: str, request_: dict[str, float]
) -> None:
    document = await driver.fetch(f"{origin.url}{path.format(host=origin.host)}", retries=NO_RETRY, **request_)
    assert document["status"] == "failed" and document["response"] is None
    assert document["error"]["type"] == error and document["error"]["detail"]
    answer = await driver.client.get(document["links"]["content"])
    assert answer.status_code == 404 and answer.json()["type"] == "/problems/no-content"


async def test_nobody_listening_is_a_connect_error(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"http://{origin.host}:1/", retries=NO_RETRY)
    assert document["error"]["type"] == "connect"


async def test_a_delayed_fetch_waits_and_says_so(driver: Driver, origin: Origin) -> None:
    path = await driver.submit(f"{origin.url}/page/delayed", delay_seconds=1.5)

    async def waiting() -> str | None:
        document = (await driver.client.get(path)).json()
        return (document["waiting"] or {}).get("reason")

    async with asyncio.timeout(1.4):
        while await waiting() != "delay":
            await asyncio.sleep(0.02)
    assert await origin.hits("/page/delayed") == {}
    assert (await driver.finish(path))["status"] == "succeeded"


async def test_one_trace_runs_from_the_request_to_the_worker(driver: Driver, origin: Origin, system: System) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
    answer = await driver.client.post("/v1/fetches", json={"url": f"{origin.url}/page/traced"}, headers=headers)
    fetch_id = answer.json()["id"]
    await driver.finish(answer.headers["location"])

    async def traced(service: str) -> bool:
        lines = (await system.log(service)).splitlines()
        entries = [json.loads(line) for line in lines if TRACE_ID in line and line.startswith("{")]
        return any(entry.get("fetch_id") == fetch_id or entry.get("route") == "/v1/fetches" for entry in entries)

    async with asyncio.timeout(10):
        while not (await traced("gateway") and await traced("fetcher")):
            await asyncio.sleep(0.05)


async def test_every_service_exports_its_metrics(driver: Driver, origin: Origin) -> None:
    before = await driver.metric("gateway", "fetchwork_fetches_accepted_total")
    await driver.fetch(f"{origin.url}/page/counted")
    assert await driver.metric("gateway", "fetchwork_fetches_accepted_total") == before + 1
    assert await driver.metric("store", "fetchwork_fetches_finished_total", status="succeeded") >= 1
    assert await driver.metric("store", "fetchwork_attempts_total", outcome="fetched") >= 1
    assert await driver.metric("store", "fetchwork_queue_wait_seconds_count") >= 1
    assert await driver.metric("fetcher", "fetchwork_attempt_duration_seconds_count", phase="total") >= 1
    for service in ("gateway", "fetcher", "store"):
        assert await driver.metric(service, "fetchwork_build_info", service=service) >= 1
