"""Batches over the whole stack: a hundred thousand lines in one request, and what becomes of every line of a smaller one."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from driver import Document, Driver, open_driver
from fetchwork_local.stack import Stack
from origin import Origin
from system import ProcessSystem

NDJSON = {"Content-Type": "application/x-ndjson"}
LINES = 100_000
BAD_EVERY = 100
GROWTH_LIMIT_BYTES = 50 * 1024 * 1024
LARGE_SECONDS = 120
TOMORROW_SECONDS = 86_400
SAMPLE_SECONDS = 0.01


async def _pieces(lines: Iterable[bytes], *, together: int = 500) -> AsyncIterator[bytes]:
    piece: list[bytes] = []
    for line in lines:
        piece.append(line)
        if len(piece) == together:
            yield b"\n".join(piece) + b"\n"
            piece = []
    yield b"\n".join(piece)


async def _walk(driver: Driver, url: str | None) -> AsyncIterator[Document]:
    """Every fetch of a list, page by page."""
    while url:
        page = await driver.client.get(url)
        assert page.status_code == 200, page.text
        for item in page.json()["items"]:
            yield item
        url = page.links.get("next", {}).get("url")


async def _batch(driver: Driver, path: str, *, is_done: Any, seconds: float) -> Document:
    """The batch, once it is as it should be. It is there from the 202 on (P6)."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await driver.client.get(path)
            assert answer.status_code == 200, answer.text
            if is_done(batch := answer.json()):
                return batch
            await asyncio.sleep(0.05)


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[tuple[Driver, Stack]]:
    """A stack of a test's own: what it leaves waiting is in nobody's way."""
    stack = Stack(tmp_path / "home", environment={})
    await asyncio.to_thread(stack.start)
    try:
        async with open_driver(ProcessSystem.of(stack)) as driver:
            yield driver, stack
    finally:
        await asyncio.to_thread(stack.stop)


def _line(number: int) -> bytes:
    """For tomorrow, so that nothing is fetched; one of each hundred is bad."""
    if number % BAD_EVERY == 0:
        return b'{"url": "ftp://bad.test/%d"}' % number
    url = f"http://h{number % 500}.test/{number}"
    return json.dumps({"url": url, "delay_seconds": TOMORROW_SECONDS, "labels": ["large"]}).encode()


async def test_a_hundred_thousand_lines_are_one_request(alone: tuple[Driver, Stack]) -> None:
    driver, stack = alone
    pid = stack.status().processes["gateway"]
    assert pid is not None
    gateway = psutil.Process(pid)
    before, peak = gateway.memory_info().rss, 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, gateway.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)

    lines = _pieces(_line(number) for number in range(1, LINES + 1))
    watching = asyncio.create_task(watch())
    try:
        answer = await driver.client.post("/v1/batches", content=lines, headers=NDJSON, timeout=LARGE_SECONDS)
    finally:
        watching.cancel()
    assert answer.status_code == 202, answer.text[:1000]
    receipt, bad = answer.json(), LINES // BAD_EVERY
    assert (receipt["accepted"], receipt["rejected"], receipt["errors_omitted"]) == (LINES - bad, bad, 0)
    assert [error["line"] for error in receipt["errors"]] == list(range(BAD_EVERY, LINES + 1, BAD_EVERY))
    assert {error["problem"]["errors"][0]["pointer"] for error in receipt["errors"]} == {"#/url"}
    assert before < peak < before + GROWTH_LIMIT_BYTES, f"the gateway grew by {(peak - before) / 2**20:.1f} MiB"
    batch = await _batch(driver, answer.headers["location"], is_done=lambda batch: True, seconds=10)
    assert (batch["total"], batch["counts"]["queued"], batch["finished"]) == (LINES - bad, LINES - bad, False)
    async with asyncio.timeout(LARGE_SECONDS):
        while await driver.metric("store", "fetchwork_queue_fetches", state="queued") < LINES - bad:
            await asyncio.sleep(0.1)
    urls = [item["url"] async for item in _walk(driver, batch["links"]["fetches"] + "&limit=200")]
    assert [int(url.rpartition("/")[2]) for url in urls] == [n for n in range(LINES, 0, -1) if n % BAD_EVERY]


async def test_every_line_of_a_batch_ends_and_is_counted(driver: Driver, origin: Origin) -> None:
    mark = uuid4().hex[:8]
    lines: list[Any] = [f"{origin.url}/page/{mark}-{number}" for number in range(40)]
    lines += ["http://127.0.0.1:1/", {"url": f"{origin.url}/page/{mark}", "attrs": {"row": 7}, "labels": [mark]}, "nonsense"]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    answer = await driver.client.post("/v1/batches", content=body, headers=NDJSON)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 42, 1), answer.text
    batch = await _batch(driver, answer.headers["location"], is_done=lambda batch: batch["finished"], seconds=60)
    assert Counter({name: count for name, count in batch["counts"].items() if count}) == {"succeeded": 41, "failed": 1}
    listed = [item async for item in _walk(driver, batch["links"]["fetches"])]
    assert len(listed) == len({item["id"] for item in listed}) == 42
    assert {item["batch_id"] for item in listed} == {batch["id"]}
    [marked] = (await driver.client.get("/v1/fetches", params={"label": mark})).json()["items"]
    assert (marked["attrs"], marked["labels"], marked["status"]) == ({"row": 7}, [mark], "succeeded")
    failed = (await driver.client.get("/v1/fetches", params={"batch_id": batch["id"], "status": "failed"})).json()["items"]
    assert [item["error"]["type"] for item in failed] == ["refused_address"]


async def test_many_clients_with_one_key_are_one_fetch(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/page/{uuid4().hex}"
    headers = {"Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(
        *(driver.client.post("/v1/fetches", json={"url": url}, headers=headers) for _ in range(32))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    document = await driver.finish(answers[0].headers["location"])
    assert document["status"] == "succeeded"
    again = await driver.client.post("/v1/fetches", json={"url": url}, headers=headers)
    assert (again.content, again.headers["idempotency-replayed"]) == (answers[0].content, "true")
    path = url.removeprefix(origin.url)
    assert (await origin.hits(path))[path] == 1
