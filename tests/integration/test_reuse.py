"""One exchange answers more than one fetch, when the caller says that this will do; and every fetch keeps its own id."""

import asyncio
from collections import Counter

from driver import Document, Driver
from origin import Origin
from website import page

EQUAL = 32
HOUR = 3600.0


def _kinds(documents: list[Document]) -> Counter[str]:
    return Counter(document["served_by"]["kind"] for document in documents)


async def test_a_stored_response_answers_without_a_request(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/validated/cached"
    first = await driver.fetch(url)
    second = await driver.fetch(url, max_age_seconds=HOUR)
    assert first["served_by"] == {"kind": "live", "fetch_id": first["id"], "age_seconds": 0}
    assert (second["served_by"]["kind"], second["served_by"]["fetch_id"]) == ("cache", first["id"])
    assert second["id"] != first["id"] and second["attempts"] == [] and second["response"] == first["response"]
    assert await driver.content(second) == page("cached")
    assert await origin.hits("/validated/cached") == {"/validated/cached": 1}


async def test_without_an_age_every_fetch_is_an_exchange(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/validated/always"
    await driver.fetch(url)
    assert (await driver.fetch(url))["served_by"]["kind"] == "live"
    assert await origin.hits("/validated/always") == {"/validated/always": 2}


async def test_other_headers_are_another_request(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/validated/personal"
    for key in ("a", "b"):
        document = await driver.fetch(url, max_age_seconds=HOUR, headers={"Authorization": key})
        assert document["served_by"]["kind"] == "live"
    assert await origin.hits("/validated/personal") == {"/validated/personal": 2}


async def test_an_older_response_is_confirmed_by_its_origin(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/validated/confirmed"
    first = await driver.fetch(url)
    second = await driver.fetch(url, max_age_seconds=0)
    assert (second["served_by"]["kind"], second["served_by"]["fetch_id"]) == ("not_modified", first["id"])
    assert second["served_by"]["age_seconds"] == 0
    assert [(attempt["outcome"], attempt["status"]) for attempt in second["attempts"]] == [("not_modified", 304)]
    assert second["response"]["status"] == 200 and second["response"]["digest"] == first["response"]["digest"]
    assert second["response"]["headers"]["x-confirmed"] == "yes"
    assert second["response"]["headers"]["content-type"] == first["response"]["headers"]["content-type"]
    assert await driver.content(second) == await driver.content(first) == page("confirmed")
    assert await origin.hits("/validated/confirmed") == {"/validated/confirmed": 1, "304 /validated/confirmed": 1}
    again = await driver.fetch(url, max_age_seconds=HOUR)
    assert (again["served_by"]["kind"], again["served_by"]["fetch_id"]) == ("cache", first["id"])


async def test_a_304_that_the_caller_provoked_is_the_callers(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/validated/own"
    document = await driver.fetch(url, max_age_seconds=HOUR, headers={"If-None-Match": '"as-it-was"'})
    assert document["response"]["status"] == 304 and document["served_by"]["kind"] == "live"


async def test_equal_fetches_at_once_share_one_exchange(driver: Driver, origin: Origin) -> None:
    path = "/validated/shared?seconds=1"
    paths = await driver.submit_all([f"{origin.url}{path}"] * EQUAL, max_age_seconds=HOUR)
    documents = await driver.finish_all(paths)
    assert len({document["id"] for document in documents}) == EQUAL
    assert {document["status"] for document in documents} == {"succeeded"}
    kinds = _kinds(documents)
    assert kinds["live"] == 1 and kinds["coalesced"] >= EQUAL // 2, "late ones may find it stored"
    [live] = [document for document in documents if document["served_by"]["kind"] == "live"]
    assert {document["served_by"]["fetch_id"] for document in documents} == {live["id"]}
    assert {await content for content in asyncio.as_completed(map(driver.content, documents))} == {page("shared")}
    assert await origin.hits("/validated/shared") == {path: 1}
    assert await driver.metric("store", "fetchwork_reuse_total", kind="coalesced") >= kinds["coalesced"]
    assert await driver.metric("store", "fetchwork_reuse_saved_bytes_total", kind="coalesced") > 0


async def test_one_that_waits_for_another_says_so_and_shares_its_failure(driver: Driver, origin: Origin) -> None:
    request = {"max_age_seconds": HOUR, "timeout_seconds": 2.0, "retries": {"max": 0}}
    leader = await driver.submit(f"{origin.url}/slow/30?led", **request)
    follower = await driver.submit(f"{origin.url}/slow/30?led", **request)
    async with asyncio.timeout(5):
        while ((await driver.client.get(follower)).json()["waiting"] or {}).get("reason") != "coalesced":
            await asyncio.sleep(0.02)
    failed = await driver.finish_all([leader, follower])
    assert [document["error"]["type"] for document in failed] == ["timeout", "timeout"]
    assert [len(document["attempts"]) for document in failed] == [1, 0]
    assert failed[1]["served_by"]["fetch_id"] == failed[0]["id"]
    assert await origin.hits("?led") == {"/slow/30?led": 1}
