"""Backup, destroy, restore: every fetch that had been accepted is there again, and finishes once."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from driver import Document, Driver, open_driver
from fetchwork_local.backup import take_backup
from fetchwork_local.errors import AlreadyRunning, StackError
from fetchwork_local.restore import restore_backup
from fetchwork_local.stack import Stack
from system import ORIGIN_ADDRESS, ProcessSystem
from website import serve_website

ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{ORIGIN_ADDRESS}/32",
    "FETCHWORK_LEASE_MARGIN_SECONDS": "2",
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "8",
    "FETCHWORK_FETCHER_SLOTS": "8",
    "FETCHWORK_API_KEY": "fw_of_this_test_and_no_other",
}
FINISHED, QUEUED, MEANWHILE, LINES = 40, 150, 60, 50
REPLAYED = {"Idempotency-Key": '"of the backup"'}
NDJSON = {"Content-Type": "application/x-ndjson"}
DONE_SECONDS = 90


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """An origin that outlives the stacks."""
    async with serve_website(ORIGIN_ADDRESS, [0]) as [port]:
        yield f"http://{ORIGIN_ADDRESS}:{port}"


async def _lines(urls: Iterable[str], *, going_on: asyncio.Event) -> AsyncIterator[bytes]:
    """A batch that is half here when the backup begins."""
    lines = [json.dumps({"url": url}).encode() + b"\n" for url in urls]
    yield b"".join(lines[: LINES // 2])
    await going_on.wait()
    yield b"".join(lines[LINES // 2 :])


async def _wait_for_no_gap(driver: Driver) -> None:
    async with asyncio.timeout(DONE_SECONDS):
        while await driver.metric("store", "fetchwork_conservation_gap") or await driver.metric(
            "store", "fetchwork_queue_fetches"
        ):
            await asyncio.sleep(0.1)


async def _feed(driver: Driver) -> dict[str, str]:
    """Of which fetch each entry of the feed tells, by its cursor, from the beginning on. One a page: a page has one cursor."""
    told: dict[str, str] = {}
    cursor = "0-0"
    while True:
        page = (await driver.client.get(f"/v1/events?after={cursor}&limit=1")).raise_for_status().json()
        if not page["items"]:
            return told
        cursor = page["next_cursor"]
        told[cursor] = page["items"][0]["subject"]


def _told_after_the_copy(old: dict[str, str], restored: dict[str, str]) -> set[str]:
    """The fetches of which the old feed told behind its copy: by the price that ADR 35 names the restored one need not.

    What is in the copy is all of the old feed up to its last entry.
    """
    entries = list(old)
    copied = max((place for place, cursor in enumerate(entries) if cursor in restored), default=-1)
    assert restored.keys() >= set(entries[: copied + 1]), "the copy is one moment of the feed"
    return {old[cursor] for cursor in entries[copied + 1 :]}


async def _facts(driver: Driver, path: str) -> tuple[Document, bytes]:
    document = (await driver.client.get(path)).json()
    return document, await driver.content(document)


async def test_backup_destroy_restore_brings_back_every_fetch(tmp_path: Path, url: str) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    stack = Stack(home, environment=ENVIRONMENT)
    await asyncio.to_thread(stack.start)
    try:
        async with open_driver(ProcessSystem.of(stack)) as driver:
            finished = await driver.submit_all(f"{url}/page/finished-{number}" for number in range(FINISHED))
            await driver.finish_all(finished)
            before = {path: await _facts(driver, path) for path in finished}
            keyed = await driver.client.post("/v1/fetches", json={"url": f"{url}/page/keyed"}, headers=REPLAYED)
            going_on = asyncio.Event()
            lines = _lines((f"{url}/page/line-{number}" for number in range(LINES)), going_on=going_on)
            submitting = asyncio.create_task(driver.client.post("/v1/batches", content=lines, headers=NDJSON))
            queued = await driver.submit_all(f"{url}/slow/0.5?queued-{number}" for number in range(QUEUED))
            delayed = await driver.submit(f"{url}/page/delayed", delay_seconds=20)
            loading = asyncio.create_task(driver.submit_all(f"{url}/page/meanwhile-{n}" for n in range(MEANWHILE)))
            await asyncio.to_thread(take_backup, stack.home, backup)
            assert await driver.metric("store", "fetchwork_queue_fetches") > 0, "it was taken in the middle of the work"
            going_on.set()
            assert (await submitting).status_code == 202
            await loading
            old = await _feed(driver)
    finally:
        await asyncio.to_thread(stack.stop)
    shutil.rmtree(home)
    await asyncio.to_thread(restore_backup, stack.home, backup)
    stack = Stack(home, environment=ENVIRONMENT)
    await asyncio.to_thread(stack.start)
    try:
        async with open_driver(ProcessSystem.of(stack)) as driver:
            assert {path: await _facts(driver, path) for path in finished} == before, "what was finished is as it was"
            documents = await driver.finish_all([*queued, delayed], seconds=DONE_SECONDS)
            assert {document["status"] for document in documents} == {"succeeded"}
            again = await driver.client.post("/v1/fetches", json={"url": f"{url}/page/keyed"}, headers=REPLAYED)
            assert again.status_code == 202 and again.json()["id"] == keyed.json()["id"]
            assert again.headers["idempotency-replayed"] == "true"
            assert (await driver.finish(again.headers["location"]))["status"] == "succeeded"
            await _wait_for_no_gap(driver)
            restored = await _feed(driver)
            unsure = _told_after_the_copy(old, restored)
            told = Counter(restored.values())
            for path in [*finished, *queued, delayed]:
                fetch_id = path.rpartition("/")[2]
                assert told[fetch_id] == 1 or (told[fetch_id] == 0 and fetch_id in unsure), "each finishes once"
            fresh = await driver.fetch(f"{url}/page/after")
            assert fresh["status"] == "succeeded"
    finally:
        await asyncio.to_thread(stack.stop)


async def test_a_damaged_backup_is_refused_and_destroys_nothing(tmp_path: Path) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup"
    with_data = Stack(home, environment=ENVIRONMENT)
    await asyncio.to_thread(with_data.start)
    try:
        await asyncio.to_thread(take_backup, with_data.home, backup)
        with pytest.raises(StackError, match="not empty"):
            take_backup(with_data.home, backup)
        with pytest.raises(AlreadyRunning):
            restore_backup(with_data.home, backup, replace_data=True)
    finally:
        await asyncio.to_thread(with_data.stop)
    data = {path: path.stat().st_size for path in (home / "data").rglob("*") if path.is_file()}
    with pytest.raises(StackError, match="holds data"):
        restore_backup(with_data.home, backup)
    for name in ("events.rdb", "postgres.dump", "manifest.json"):
        damaged = tmp_path / f"damaged-{name}"
        shutil.copytree(backup, damaged)
        content = bytearray((damaged / name).read_bytes())
        content[len(content) // 2] ^= 1
        (damaged / name).write_bytes(content if name != "manifest.json" else content[:-20])
        with pytest.raises(StackError, match=name):
            restore_backup(with_data.home, damaged, replace_data=True)
    with pytest.raises(StackError, match="No stack runs"):
        take_backup(with_data.home, tmp_path / "none")
    assert {path: path.stat().st_size for path in (home / "data").rglob("*") if path.is_file()} == data
    await asyncio.to_thread(restore_backup, with_data.home, backup, replace_data=True)
