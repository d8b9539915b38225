"""Each service works beside the previous release of each other one, as it must while they are deployed one after another."""

import asyncio
import hashlib

import pytest
from compose_project import Compose
from driver import Document, Driver
from origin import Origin
from pairing import Pairing
from system import System
from website import noise, page

LARGE_BYTES = 400_000
"""More than an event carries, so it goes to the store's content endpoint first."""
INTERRUPTED = {"timeout_seconds": 5.0, "retries": {"max": 3, "backoff_seconds": 0.1}}
RESPONSE_FACTS = ("status", "headers", "media_type", "size_bytes", "digest", "final_url")
ATTEMPT_FACTS = ("number", "outcome", "status", "started_at", "finished_at", "hops")
"""What every release tells; a newer one may tell more."""
START_SECONDS = 30
FINISH_SECONDS = 60


async def test_what_was_under_way_when_it_was_replaced_is_finished(driver: Driver, pairing: Pairing) -> None:
    documents = await driver.finish_all(pairing.carried, seconds=FINISH_SECONDS)
    assert {document["status"] for document in documents} <= {"succeeded"}


@pytest.mark.parametrize("path", ["/page/skew", f"/bytes/{LARGE_BYTES}"])
async def test_a_body_is_fetched_stored_and_read(
    driver: Driver, origin: Origin, pairing: Pairing, kept: dict[str, Document], path: str
) -> None:
    url = f"{origin.url}{path}?{pairing.earlier}"
    document = await driver.fetch(url, headers={"X-Mine": "yes"})
    body = page("skew") if path.startswith("/page") else noise(LARGE_BYTES)
    assert document["status"] == "succeeded"
    assert document["response"]["digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert document["response"]["final_url"] == url and document["response"]["headers"]["content-type"]
    assert await driver.content(document) == body
    assert (await origin.headers(url.removeprefix(origin.url)))["X-Mine"] == "yes"
    kept[url] = document


async def test_what_was_kept_before_is_read_as_it_was(driver: Driver, pairing: Pairing, kept: dict[str, Document]) -> None:
    assert kept
    for document in kept.values():
        again = await driver.finish(document["links"]["self"])
        assert _facts(again) == _facts(document)
        digest = hashlib.sha256(await driver.content(again)).hexdigest()
        assert again["response"]["digest"] == f"sha256:{digest}"


async def test_a_refused_target_fails_as_refused(driver: Driver, origin: Origin, pairing: Pairing) -> None:
    """The fetcher's own loopback, where nobody listens, so that even a broken guard sends nothing to anybody."""
    for url in ("http://127.0.0.1:1/", f"{origin.url}/redirect?to=http://127.0.0.1:1/"):
        document = await driver.fetch(url)
        assert (document["status"], (document["error"] or {}).get("type")) == ("failed", "refused_address")


async def test_what_may_help_is_tried_again(driver: Driver, origin: Origin, pairing: Pairing) -> None:
    """The fetcher says what may help, and the store decides."""
    retries = {"max": 3, "backoff_seconds": 0.05}
    document = await driver.fetch(f"{origin.url}/flapping/2/{pairing.earlier}", retries=retries)
    assert [attempt["status"] for attempt in document["attempts"]] == [503, 503, 200]


async def test_a_worker_killed_in_the_middle_of_a_task_is_made_up_for(
    driver: Driver, origin: Origin, system: System, pairing: Pairing
) -> None:
    path = f"/slow/3?killed-{pairing.earlier}"
    fetch = await driver.submit(f"{origin.url}{path}", **INTERRUPTED)
    async with asyncio.timeout(START_SECONDS):
        while not await origin.hits(path):
            await asyncio.sleep(0.05)
    await system.kill("fetcher")
    document = await driver.finish(fetch, seconds=FINISH_SECONDS)
    assert document["status"] == "succeeded"
    assert [attempt["number"] for attempt in document["attempts"]] == [2], "the first dispatch was never answered"
    await system.wait_until_ready()


def test_the_schema_is_always_the_new_one(running: Compose, pairing: Pairing) -> None:
    [migrate] = running.inspect("migrate")
    assert migrate["State"]["ExitCode"] == 0
    assert migrate["Config"]["Image"] == running.image("store")
    [store] = running.inspect("store")
    assert (store["Config"]["Image"] == running.image("store")) is (pairing.earlier != "store")


async def test_nobody_sent_what_another_could_not_read(driver: Driver, pairing: Pairing) -> None:
    """Such messages are put aside and the lease hides the loss for a while; here they are named."""
    assert await driver.metric("store", "fetchwork_dead_letters_total") == 0
    assert await driver.metric("fetcher", "fetchwork_commands_rejected_total") == 0


def _facts(document: Document) -> list[object]:
    response = [document["response"][name] for name in RESPONSE_FACTS]
    return [*response, *([attempt[name] for name in ATTEMPT_FACTS] for attempt in document["attempts"])]
