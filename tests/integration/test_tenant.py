"""What a tenant does with a key of its own over the whole system: batches, labels, the feed, quotas, Firecrawl's API.

In containers each service has a user of its own in the events Redis, which may do all that is done here.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from driver import Document, Driver, open_driver
from origin import Origin
from system import ANSWER_TIMEOUT_SECONDS, System
from website import page

BATCH = 25
PAGE_FETCHES = 10
SECONDS = 30


@pytest.fixture(autouse=True)
async def nothing_is_denied(system: System) -> AsyncIterator[None]:
    """Each access list allows what its service does."""
    before = await system.denials()
    yield
    assert await system.denials() == before


@asynccontextmanager
async def _open_tenant(driver: Driver, **limits: int) -> AsyncIterator[Driver]:
    """A client with a new key of the tenant `acme`, which has these limits."""
    answer = await driver.client.post("/v1/keys", json={"name": "tenant", "tenant": "acme", "limits": limits})
    assert answer.status_code == 201, answer.text
    async with open_driver(replace(driver.system, api_key=answer.json()["secret"])) as tenant:
        yield tenant


async def _items(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[Document]:
    """All of a list, page by page."""
    items: list[Document] = []
    cursor = None
    while True:
        answer = await client.get(path, params=parameters | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items


async def test_a_batch_is_taken_once_and_its_fetches_are_listed_and_told(driver: Driver, origin: Origin) -> None:
    lines = [json.dumps({"url": f"{origin.url}/page/of-batch-{number}", "labels": ["batched"]}) for number in range(BATCH)]
    body = "\n".join([*lines, "no JSON"]).encode()
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": '"the-batch"'}
    async with _open_tenant(driver, fetches_per_minute=10 * BATCH) as tenant:
        first, again = [await tenant.client.post("/v1/batches", content=body, headers=headers) for _ in range(2)]
        assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json()), first.text
        assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
        taken = first.json()
        assert (taken["accepted"], taken["rejected"]) == (BATCH, 1)
        async with asyncio.timeout(SECONDS):
            while not (batch := (await tenant.client.get(taken["links"]["self"])).json()).get("finished"):
                await asyncio.sleep(0.05)
        assert (batch["total"], batch["counts"]["succeeded"]) == (BATCH, BATCH)
        of_batch = {"batch_id": taken["id"], "limit": PAGE_FETCHES}
        listed = [fetch["id"] for fetch in await _items(tenant.client, "/v1/fetches", label="batched", **of_batch)]
        assert len(set(listed)) == len(listed) == BATCH
        assert await tenant.content((await tenant.client.get(f"/v1/fetches/{listed[-1]}")).json()) == page("of-batch-0")
        heard = await _told(tenant, taken["id"])
        assert {event["subject"] for event in heard} == set(listed)
        assert (await driver.client.get(taken["links"]["self"])).status_code == 404, "the first key is of another tenant"


async def _told(tenant: Driver, batch_id: str) -> list[Document]:
    """What the feed tells a browser of a batch, as a stream that a ticket opens."""
    ticket = (await tenant.client.post("/v1/events/tickets")).json()
    assert ticket["url"].endswith(ticket["ticket"])
    events: list[Document] = []
    async with httpx2.AsyncClient(base_url=tenant.client.base_url, timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False) as browser:
        async with browser.sse(f"{ticket['url']}&after=0&batch_id={batch_id}") as stream, asyncio.timeout(SECONDS):
            async for event in stream:
                if event.data:
                    events.append(json.loads(event.data))
                if len({event["id"] for event in events}) == BATCH:
                    return events
    return events


async def test_the_same_request_makes_one_fetch(driver: Driver, origin: Origin) -> None:
    body, headers = {"url": f"{origin.url}/page/once"}, {"Idempotency-Key": '"once"'}
    async with _open_tenant(driver) as tenant:
        answers = await asyncio.gather(*(tenant.client.post("/v1/fetches", json=body, headers=headers) for _ in range(5)))
        made = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert len(made) == 1 and {answer.status_code for answer in answers} <= {202, 409}
        other = await tenant.client.post("/v1/fetches", json=body | {"priority": 9}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
        await tenant.finish(f"/v1/fetches/{made.pop()}")
    assert await origin.hits("/page/once") == {"/page/once": 1}


async def test_quotas_hold_and_are_given_back(driver: Driver, origin: Origin) -> None:
    """A minute's quota comes back with time; room for unfinished fetches once the store tells that some have finished."""
    async with _open_tenant(driver, fetches_per_minute=3) as tenant:
        posts = [await tenant.client.post("/v1/fetches", json={"url": f"{origin.url}/page/quota"}) for _ in range(4)]
        assert [answer.status_code for answer in posts] == [202, 202, 202, 429]
        assert posts[-1].json()["violated-policies"] == ["fetches"] and int(posts[-1].headers["retry-after"]) > 0
    async with _open_tenant(driver, queued_fetches=2) as tenant:
        slow = {"url": f"{origin.url}/slow/30"}
        posts = [await tenant.client.post("/v1/fetches", json=slow) for _ in range(3)]
        assert [answer.status_code for answer in posts] == [202, 202, 429]
        assert posts[-1].json()["violated-policies"] == ["queued"]
        for answer in posts[:2]:
            cancelled = await tenant.client.delete(answer.headers["location"])
            assert cancelled.status_code == 200, cancelled.text
        async with asyncio.timeout(SECONDS):
            while (await tenant.client.post("/v1/fetches", json=slow | {"delay_seconds": 60})).status_code == 429:
                await asyncio.sleep(0.1)


async def test_a_page_is_scraped_as_firecrawl_would(driver: Driver, origin: Origin) -> None:
    async with _open_tenant(driver) as tenant:
        answer = await tenant.client.post("/v2/scrape", json={"url": f"{origin.url}/page/scraped", "formats": ["rawHtml"]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["rawHtml"] == page("scraped").decode()
