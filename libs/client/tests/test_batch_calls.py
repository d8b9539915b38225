"""Batches by the SDK: streamed, repeated without doubling, waited for."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from fetchwork import BatchProgress, BatchWaitTimeout, Client, GatewayUnreachable, NotAuthorized, NotFound, ProblemError
from played_batches import PlayedBatches
from played_gateway import PlayedGateway

URLS = [f"http://origin.example/{number}" for number in range(10)]
MANY = 20_000


async def test_lines_are_urls_objects_or_json(gateway: PlayedGateway, batches: PlayedBatches, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch([URLS[0], {"url": URLS[1], "labels": ["a"]}, b'{"url": "http://invalid.example/"}'])
    assert (batch.accepted, batch.rejected, batch.is_replay) == (2, 1, False)
    assert [json.loads(line) for line in batches.lines[:2]] == [URLS[0], {"url": URLS[1], "labels": ["a"]}]
    assert (batch.errors[0].line, batch.errors[0].reason) == (3, "#/url: Not a URL.")


async def test_lines_are_sent_while_they_are_made(gateway: PlayedGateway, batches: PlayedBatches, api_key: str) -> None:
    async def lines() -> AsyncIterator[str]:
        for number in range(MANY):
            if number == MANY // 2:
                async with asyncio.timeout(20):
                    await batches.has_received.wait()
            yield f"http://origin.example/{number}"

    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch(lines())
    assert (batch.accepted, batches.pieces > 2) == (MANY, True)


async def test_broken_upload_of_a_list_is_sent_again_with_its_key(
    gateway: PlayedGateway, batches: PlayedBatches, api_key: str
) -> None:
    batches.broken_uploads = [3, 5]
    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch(URLS)
    assert (batch.accepted, len(gateway.fetches)) == (10, 10)
    assert (len(batches.submissions), len(set(batches.submissions))) == (3, 1)


async def test_broken_upload_of_a_generator_is_left_to_the_caller(
    gateway: PlayedGateway, batches: PlayedBatches, api_key: str
) -> None:
    def lines() -> Iterator[str]:
        yield from URLS

    batches.broken_uploads = [3]
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(GatewayUnreachable):
            await client.submit_batch(lines(), idempotency_key="mine")
        assert len(batches.submissions) == 1
        first = await client.submit_batch(lines(), idempotency_key="mine")
        second = await client.submit_batch(lines(), idempotency_key="mine")
    assert (first.id, second.is_replay, len(gateway.fetches)) == (second.id, True, 10)


async def test_quota_and_a_submission_under_way_are_waited_for(
    gateway: PlayedGateway, batches: PlayedBatches, api_key: str
) -> None:
    batches.busy, batches.in_flight = 2, 5
    async with Client(gateway.url, api_key) as client:
        assert (await client.submit_batch(URLS)).accepted == 10
    assert len(set(batches.submissions)) == 1


async def test_refusal_before_the_upload_has_ended_is_heard(gateway: PlayedGateway, batches: PlayedBatches) -> None:
    async with Client(gateway.url, "wrong") as client:
        with pytest.raises(NotAuthorized):
            await client.submit_batch([f"http://origin.example/{number}" for number in range(MANY)])


async def test_fault_of_the_lines_is_the_callers(gateway: PlayedGateway, api_key: str) -> None:
    def lines() -> Iterator[str]:
        yield URLS[0]
        raise LookupError("no more")

    async with Client(gateway.url, api_key) as client:
        with pytest.raises(LookupError):
            await client.submit_batch(lines())
    assert gateway.fetches == {}


async def test_batch_is_waited_for_and_seen_on_its_way(gateway: PlayedGateway, api_key: str) -> None:
    seen: list[BatchProgress] = []
    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch([*URLS, "http://refused.example/"])
        done = await client.wait_batch(batch.id, wait_seconds=20, on_progress=seen.append)
    assert (done.finished, done.total, done.done, done.unsuccessful) == (True, 11, 11, 1)
    assert (done.counts.succeeded, done.counts.failed) == (10, 1)
    assert [(look.done, look.counts.queued) for look in seen] == [(5, 6), (11, 0)]


async def test_gateway_that_is_away_for_a_while_is_borne(gateway: PlayedGateway, batches: PlayedBatches, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch(URLS)
        batches.broken_looks = 6
        assert (await client.wait_batch(batch.id, wait_seconds=20)).finished


async def test_waiting_for_a_batch_ends_in_time(gateway: PlayedGateway, batches: PlayedBatches, api_key: str) -> None:
    batches.is_held = True
    async with Client(gateway.url, api_key) as client:
        batch = await client.submit_batch(URLS)
        with pytest.raises(BatchWaitTimeout) as timeout:
            await client.wait_batch(batch.id, wait_seconds=0.2)
    assert (timeout.value.batch.id, timeout.value.batch.done) == (batch.id, 5)


async def test_unknown_batch_is_not_found_at_once(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(NotFound):
            await client.wait_batch("00000000-0000-7000-8000-000000000000", wait_seconds=20)


async def test_submission_refused_as_a_whole_is_a_problem(gateway: PlayedGateway, batches: PlayedBatches, api_key: str) -> None:
    batches.busy = 10
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ProblemError) as refusal:
            await client.submit_batch(URLS)
    assert (refusal.value.status, len(batches.submissions)) == (429, 4)
