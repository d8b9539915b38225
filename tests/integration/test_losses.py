"""Nothing that was accepted is lost: volume, and processes killed in the middle of it. The fault suite goes further."""

import asyncio
from collections import Counter

import pytest
from driver import Document, Driver
from origin import Origin
from system import SERVERS, System
from website import page

VOLUME = 1000
KILLED = 500
EQUAL = 32
SHORT = {"timeout_seconds": 5.0, "retries": {"max": 5, "backoff_seconds": 0.1}}


def _all_succeeded(documents: list[Document]) -> bool:
    return Counter(document["status"] for document in documents) == Counter(succeeded=len(documents))


async def test_a_thousand_single_posts_all_succeed_each_once(driver: Driver, origin: Origin) -> None:
    urls = [f"{origin.url}/page/v{number}" for number in range(VOLUME)]
    paths = await driver.submit_all(urls)
    assert len(set(paths)) == VOLUME
    documents = await driver.finish_all(paths)
    assert _all_succeeded(documents)
    assert {document["response"]["final_url"] for document in documents} == set(urls)
    assert await origin.hits("/page/v") == {f"/page/v{number}": 1 for number in range(VOLUME)}
    await _wait_for_no_gap(driver)


async def test_a_fetch_is_never_unknown_right_after_its_202(driver: Driver, origin: Origin) -> None:
    async def submit_and_read(number: int) -> int:
        path = await driver.submit(f"{origin.url}/page/p6-{number}")
        return (await driver.client.get(path)).status_code

    assert set(await asyncio.gather(*(submit_and_read(number) for number in range(200)))) == {200}


@pytest.mark.parametrize("victim", SERVERS)
async def test_a_killed_process_loses_nothing(driver: Driver, origin: Origin, system: System, victim: str) -> None:
    await system.wait_until_ready()
    killed = await system.pids(victim)
    urls = [f"{origin.url}/slow/0.{number % 10}?{victim}-{number}" for number in range(KILLED)]
    submitting = asyncio.create_task(driver.submit_all(urls, **SHORT))
    async with asyncio.timeout(30):
        while len(await origin.hits(f"?{victim}-")) < KILLED // 10:
            await asyncio.sleep(0.01)
    await system.kill(victim)
    assert len(await origin.hits(f"?{victim}-")) < KILLED, "it was killed in the middle of the work"
    documents = await driver.finish_all(await submitting, seconds=90)
    assert _all_succeeded(documents)
    assert {document["response"]["final_url"] for document in documents} == set(urls)
    await system.wait_until_ready()
    assert killed and killed.isdisjoint(await system.pids(victim)), "whoever looks after it brings it back"
    await _wait_for_no_gap(driver)


async def test_a_post_whose_fetcher_is_killed_is_abandoned_and_never_sent_again(
    driver: Driver, origin: Origin, system: System
) -> None:
    path = "/slow/30?post-lost"
    submitted = await driver.submit(f"{origin.url}{path}", method="POST", body="once", timeout_seconds=6.0)
    await _wait_for_hits(origin, path)
    await system.kill("fetcher")
    document = await driver.finish(submitted)
    assert (document["status"], document["error"]["type"]) == ("failed", "abandoned")
    assert document["at_most_once"] and document["attempts"] == []
    await system.wait_until_ready()
    await driver.fetch(f"{origin.url}/page/after-post")
    assert await origin.hits(path) == {path: 1}


async def test_followers_survive_a_store_that_is_killed(driver: Driver, origin: Origin, system: System) -> None:
    path = "/validated/lost?seconds=1.5"
    paths = await driver.submit_all([f"{origin.url}{path}"] * EQUAL, max_age_seconds=60)
    await _wait_for_hits(origin, path)
    await system.kill("store")
    documents = await driver.finish_all(paths)
    assert _all_succeeded(documents) and len({document["id"] for document in documents}) == EQUAL
    kinds = Counter(document["served_by"]["kind"] for document in documents)
    assert kinds["live"] == 1 and kinds["live"] + kinds["coalesced"] + kinds["cache"] == EQUAL
    contents = await asyncio.gather(*(driver.content(document) for document in documents))
    assert set(contents) == {page("lost")}
    assert await origin.hits(path) == {path: 1}
    await system.wait_until_ready()
    await _wait_for_no_gap(driver)


async def _wait_for_hits(origin: Origin, path: str) -> None:
    async with asyncio.timeout(30):
        while not await origin.hits(path):
            await asyncio.sleep(0.02)


async def _wait_for_no_gap(driver: Driver) -> None:
    """Accepted = finished + pending, and nothing is pending."""
    async with asyncio.timeout(30):
        while True:
            gap = await driver.metric("store", "fetchwork_conservation_gap")
            queued = await driver.metric("store", "fetchwork_queue_fetches", state="queued")
            if gap == 0 and queued == 0:
                return
            await asyncio.sleep(0.25)
