"""Batches that are slow, large, many or encoded: each keeps within its bounds, and what it holds it keeps holding."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD
from gateway_lives import serving
from gateway_words import KEY, assert_problem
from redis.asyncio import Redis

NDJSON = {"Content-Type": "application/x-ndjson"}
WAIT_SECONDS = 10


def lines(*documents: Any) -> bytes:
    """One a line."""
    return b"\n".join(json.dumps(document).encode() for document in documents)


async def test_the_problem_of_a_line_is_small_whatever_the_line_is(client: httpx2.AsyncClient, events: Redis) -> None:
    many = {"url": "http://a.test/"} | {f"n{number}": 1 for number in range(3000)}
    answer = await client.post("/v1/batches", content=lines(many, {"n" * 50_000: 1}), headers=NDJSON)
    assert answer.json()["rejected"] == 2 and len(answer.content) < 10_000
    assert [len(error["problem"]["errors"]) for error in answer.json()["errors"]] == [10, 2]


async def test_large_lines_are_promised_few_at_a_time(client: httpx2.AsyncClient, events: Redis) -> None:
    body = lines(*({"url": f"http://a.test/{n}", "method": "POST", "body": "\0" * 10_000} for n in range(40)))
    answer = await client.post("/v1/batches", content=body, headers=NDJSON)
    assert answer.json()["accepted"] == 40
    entries = await events.xrange(ACCEPTED_STREAM)
    assert len(entries) == 4 and all(len(fields[EVENT_FIELD]) < 1_300_000 for _, fields in entries)


@pytest.mark.parametrize("coding", ["gzip", "br, gzip", "x"])
async def test_an_encoded_body_is_refused(client: httpx2.AsyncClient, events: Redis, coding: str) -> None:
    for path, headers in (("/v1/batches", NDJSON), ("/v1/fetches", {"Content-Type": "application/json"})):
        answer = await client.post(path, content=b"\x1f\x8b", headers=headers | {"Content-Encoding": coding})
        assert_problem(answer, 415, "unsupported-media-type")
        assert answer.headers["accept-encoding"] == "identity"
    answer = await client.post("/v1/batches", content=b"http://a.test/", headers=NDJSON | {"Content-Encoding": "identity"})
    assert answer.json()["accepted"] == 1


async def test_a_slow_sender_keeps_its_claim_and_batches_are_bounded(
    tmp_path: Path, events: Redis, events_url: str, measured: dict[str, str]
) -> None:
    """Bytes come all the while and no line ends, for longer than a lease."""
    limits = {
        "idempotency_lease_seconds": 1, "accept_timeout_seconds": 0.3, "store_timeout_seconds": 0.3, "batches_per_key_limit": 1
    }  # fmt: skip
    headers = NDJSON | {"Idempotency-Key": "one"}
    async with serving(tmp_path, events_url=events_url, measured=measured, **limits) as gateway, gateway.client() as client:

        async def trickle() -> AsyncIterator[bytes]:
            yield b"http://a.test/"
            for _ in range(30):
                await asyncio.sleep(0.1)
                yield b"x"

        sending = asyncio.create_task(client.post("/v1/batches", content=trickle(), headers=headers))
        async with asyncio.timeout(WAIT_SECONDS):
            while not (names := [name async for name in events.scan_iter("fetchwork:v1:idempotency:*")]):
                await asyncio.sleep(0.01)
        assert_problem(await client.post("/v1/batches", content=b"", headers=NDJSON), 429, "quota-exceeded")
        while not sending.done():
            until = await events.hget(names[0], "until")  # none once the answer is kept
            assert until is None or int(until) > time.time() * 1000
            await asyncio.sleep(0.05)
        answer = sending.result()
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1), answer.text


async def test_a_body_that_does_not_end_is_told(tmp_path: Path, events: Redis, events_url: str, measured: dict[str, str]) -> None:
    async with serving(tmp_path, events_url=events_url, measured=measured, body_timeout_seconds=0.3) as gateway:
        address = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST /v1/fetches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 9\r\n\r\n{{"
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ") and b"/problems/upload-stalled" in answer
