"""The SDK against the running stack: it waits, follows and goes on, and its models read what the gateway really says.

Over processes only: what it sends and reads is the same API either way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from fetchwork import Client, Event, NotFound, ProblemError, WaitTimeout
from fetchwork_local.stack import Stack
from origin import Origin
from system import ProcessSystem
from website import page

LINES = 300
TOLD_SECONDS = 20


@pytest.fixture(scope="module")
async def origin(stack: Stack) -> AsyncIterator[Origin]:
    """The website from hell, as fetchers of this stack reach it."""
    async with ProcessSystem.of(stack).origin() as served:
        yield served


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    """A client with the first key."""
    system = ProcessSystem.of(stack)
    async with Client(system.gateway_url, system.api_key) as opened:
        yield opened


async def test_submitting_waits_for_the_finished_fetch_and_can_be_told_to_stop(client: Client, origin: Origin) -> None:
    fetch = await client.submit(f"{origin.url}/page/sdk", wait_seconds=20, labels=["sdk"], attrs={"row": 7})
    assert (fetch.status, fetch.labels, fetch.attrs) == ("succeeded", ["sdk"], {"row": 7})
    assert await client.content(fetch.id) == page("sdk")
    slow = await client.submit(f"{origin.url}/slow/20?sdk", wait_seconds=0.5)
    assert not slow.is_finished
    with pytest.raises(WaitTimeout):
        await client.wait(slow.id, wait_seconds=0.5)
    with pytest.raises(ProblemError) as refusal:
        await client.retry(slow.id)
    assert (refusal.value.status, refusal.value.type) == (409, "/problems/not-finished")
    assert (await client.cancel(slow.id)).status == "cancelled"


async def test_a_submission_with_a_key_is_one_fetch(client: Client, origin: Origin) -> None:
    asked = [await client.submit(f"{origin.url}/page/keyed-once", idempotency_key="sdk-once") for _ in range(3)]
    assert len({fetch.id for fetch in asked}) == 1
    await client.wait(asked[0].id, wait_seconds=30)
    assert await origin.hits("/page/keyed-once") == {"/page/keyed-once": 1}


async def test_a_batch_is_taken_waited_for_listed_and_told(client: Client, origin: Origin) -> None:
    lines = [f"{origin.url}/page/sdk-{number}" for number in range(LINES)]
    lines[LINES // 2] = "nonsense"
    batch = await client.submit_batch(lines, idempotency_key="sdk-batch")
    assert (batch.accepted, batch.rejected, batch.is_replay) == (LINES - 1, 1, False)
    assert [error.line for error in batch.errors] == [LINES // 2 + 1] and batch.errors[0].reason
    replay = await client.submit_batch(lines, idempotency_key="sdk-batch")
    assert (replay.id, replay.accepted, replay.is_replay) == (batch.id, batch.accepted, True)
    seen: list[int] = []
    done = await client.wait_batch(batch.id, wait_seconds=60, on_progress=lambda progress: seen.append(progress.done))
    assert (done.total, done.counts.succeeded, done.rejected, seen[-1]) == (LINES - 1, LINES - 1, 1, LINES - 1)
    assert seen == sorted(seen)
    listed = [fetch async for fetch in client.list_fetches(batch_id=batch.id)]
    assert {fetch.url for fetch in listed} == set(lines) - {"nonsense"} and len(listed) == LINES - 1
    assert set((await origin.hits("/page/sdk-")).values()) == {1}
    told: list[Event] = []
    async with asyncio.timeout(TOLD_SECONDS):
        while len(told) < LINES - 1:  # they are told a moment after their fetches have finished
            told = [event async for event in client.past_events(batch_id=batch.id)]
    assert {event.data["id"] for event in told} == {fetch.id for fetch in listed}


async def test_the_feed_is_followed_from_a_cursor_on(client: Client, origin: Origin) -> None:
    start = (await client.read_events()).next_cursor
    fetch_ids = [(await client.submit(f"{origin.url}/page/followed-{number}", labels=["followed"])).id for number in range(5)]
    heard: list[str] = []
    cursor = start
    for part in (2, 3):
        async with aclosing(client.events(after=cursor, label="followed")) as events:
            async for event in events:
                assert (event.type, event.data["status"]) == ("fetch.finished.v1", "succeeded")
                heard.append(event.data["id"])
                cursor = event.cursor
                part -= 1
                if not part:
                    break
    assert sorted(heard) == sorted(fetch_ids)


async def test_what_is_not_there_is_not_found(client: Client) -> None:
    for question in (client.get, client.content, client.get_batch, client.cancel, client.retry):
        with pytest.raises(NotFound):
            await question("00000000-0000-7000-8000-000000000000")
