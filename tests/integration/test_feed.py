"""The feed of the whole system: a finish is the answer to who waits, and a follower hears of each, whatever is killed."""

import asyncio
from collections import Counter

import httpx2
from driver import Driver
from origin import Origin
from system import System
from website import page

FOLLOWED = 600
SECONDS = 60
VICTIMS = ("gateway", "store", "events")


async def test_who_waits_is_answered_with_the_finished_fetch(driver: Driver, origin: Origin) -> None:
    body, headers = {"url": f"{origin.url}/page/waited"}, {"Prefer": "wait=10"}
    answer = await driver.client.post("/v1/fetches", json=body, headers=headers)
    assert answer.status_code == 200 and answer.headers["preference-applied"] == "wait=10"
    document = answer.json()
    assert document["status"] == "succeeded" and answer.headers["content-location"] == document["links"]["self"]
    assert await driver.content(document) == page("waited")


async def test_a_follower_hears_of_each_finish_once_while_processes_are_killed(
    driver: Driver, origin: Origin, system: System
) -> None:
    """What the relay sent twice, because it was killed in between, has one id. A submission that a kill left unanswered
    was submitted again, so more may finish than were answered with 202; of those that were, none is missing.
    """
    await system.wait_until_ready()
    cursor = (await driver.client.get("/v1/events")).json()["next_cursor"]
    paths = asyncio.create_task(driver.submit_all(f"{origin.url}/slow/0.2?feed-{number}" for number in range(FOLLOWED)))
    heard: dict[str, str] = {}

    def all_heard() -> bool:
        return paths.done() and {path.rpartition("/")[2] for path in paths.result()} <= set(heard.values())

    victims = list(VICTIMS)
    async with asyncio.timeout(SECONDS):
        while not all_heard():
            try:
                async with driver.client.sse("/v1/events", headers={"Last-Event-ID": cursor}) as source:
                    async for event in source:
                        cursor = event.id
                        if event.data:
                            told = event.json()
                            assert isinstance(told, dict) and event.event == "fetch.finished.v1"
                            if "?feed-" in told["data"]["url"]:
                                heard[told["id"]] = told["subject"]
                        if victims and len(heard) > FOLLOWED // (len(victims) + 1):
                            await system.kill(victims.pop())
                            break
                        if all_heard():
                            break
            except (httpx2.TransportError, httpx2.HTTPStatusError):
                await asyncio.sleep(0.1)
    assert not victims, "each was killed in the middle of it"
    assert max(Counter(heard.values()).values()) == 1, "each finish has one id"
