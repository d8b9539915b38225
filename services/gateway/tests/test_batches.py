"""Batches at the door: what is accepted, what is refused and how it is named, how they wait, and what breaks off."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.batches import AcceptedBatch, BatchCounts, BatchView
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, FetchesAccepted
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD, INGESTING_HASH
from gateway_words import assert_problem
from redis.asyncio import Redis

NDJSON = {"Content-Type": "application/x-ndjson"}
WAIT_SECONDS = 10


async def _promised(events: Redis) -> tuple[list[AcceptedFetch], list[AcceptedBatch]]:
    """Every fetch and every end of a batch in the stream, in order."""
    entries = await events.xrange(ACCEPTED_STREAM)
    data = [Envelope[FetchesAccepted].model_validate_json(fields[EVENT_FIELD]).data for _, fields in entries]
    return [fetch for event in data for fetch in event.fetches], [event.batch for event in data if event.batch is not None]


def _lines(*lines: Any) -> bytes:
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)


async def _pieces(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _break_off(client: httpx2.AsyncClient, events: Redis, body: bytes, *, headers: dict[str, str]) -> None:
    """Send so much of a batch, hang up once some is promised, and wait until the gateway has noted that and let the key go."""

    async def broken() -> AsyncIterator[bytes]:
        yield body
        async with asyncio.timeout(WAIT_SECONDS):
            while not await events.xlen(ACCEPTED_STREAM):
                await asyncio.sleep(0.01)
        raise ConnectionError("the sender is gone")

    with pytest.raises(ConnectionError):
        await client.post("/v1/batches", content=broken(), headers=headers)
    async with asyncio.timeout(WAIT_SECONDS):
        while not (await _promised(events))[1]:
            await asyncio.sleep(0.01)
        async for record in events.scan_iter("fetchwork:v1:idempotency:*"):
            while await events.hexists(record, "until"):
                await asyncio.sleep(0.01)


async def test_good_lines_are_promised_and_each_bad_one_is_named(client: httpx2.AsyncClient, events: Redis) -> None:
    body = _lines(
        {"url": "http://A.test/1", "labels": ["x"], "attrs": {"n": 1}},
        "http://a.test/2",
        b"http://a.test/3",
        b"",
        {"url": "ftp://a.test/"},
        {"url": "http://a.test/", "nonsense": 1},
        b"{not json",
        b"[1]",
        b'"unended',
        b"\xff\xfe",
        {"url": "http://a.test/", "expires_at": "2001-01-01T00:00:00Z"},
        b'"http://a.test/' + b"x" * 70_000 + b'"',
        {"url": "http://b.test/last", "headers": {"Host": "no"}},
        {"url": "http://b.test/last"},
    )
    answer = await client.post("/v1/batches", content=body, headers=NDJSON)
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    assert answer.headers["location"] == receipt["links"]["self"] == f"/v1/batches/{receipt['id']}"
    assert (receipt["accepted"], receipt["rejected"], receipt["errors_omitted"]) == (4, 9, 0)
    named = [(error["line"], error["problem"]["type"].rpartition("/")[2]) for error in receipt["errors"]]
    invalid, malformed = "invalid-request", "malformed-json"
    assert named == [
        (5, invalid), (6, invalid), (7, malformed), (8, malformed), (9, malformed), (10, malformed), (11, invalid),
        (12, "body-too-large"), (13, invalid),
    ]  # fmt: skip
    pointers = [[member["pointer"] for member in error["problem"].get("errors", [])] for error in receipt["errors"]]
    assert pointers == [["#/url"], ["#/nonsense"], [], [], [], [], ["#/expires_at"], [], ["#/headers/Host"]]
    fetches, [batch] = await _promised(events)
    urls = [fetch.request.url for fetch in fetches]
    assert urls == ["http://a.test/1", "http://a.test/2", "http://a.test/3", "http://b.test/last"]
    assert {fetch.batch_id for fetch in fetches} == {UUID(receipt["id"])} == {batch.id}
    assert (fetches[0].labels, fetches[0].attrs, fetches[3].host) == (("x",), {"n": 1}, "b.test")
    assert [fetch.id for fetch in fetches] == sorted(fetch.id for fetch in fetches)
    assert (batch.accepted, batch.rejected, batch.is_whole, len(batch.errors)) == (4, 9, True, 9)


async def test_items_of_one_document_are_lines_too(client: httpx2.AsyncClient, events: Redis) -> None:
    items = ["http://a.test/1", {"url": "http://a.test/2"}, 7, {"url": "http://a.test/ü"}]
    answer = await client.post("/v1/batches", json={"items": items})
    assert answer.status_code == 202, answer.text
    assert (answer.json()["accepted"], [error["line"] for error in answer.json()["errors"]]) == (3, [3])
    fetches, _ = await _promised(events)
    assert [fetch.request.url for fetch in fetches] == ["http://a.test/1", "http://a.test/2", "http://a.test/%C3%BC"]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-json"),
        (b"[]", "application/json", 422, "invalid-request"),
        (b'{"items": 1}', "application/json", 422, "invalid-request"),
        (b'{"items": [], "more": 1}', "application/json", 422, "invalid-request"),
        (b"http://a.test/", "text/plain", 415, "unsupported-media-type"),
        (b"http://a.test/", "", 415, "unsupported-media-type"),
    ],
)
async def test_what_is_no_batch_is_refused_whole(
    client: httpx2.AsyncClient, events: Redis, body: bytes, media_type: str, status: int, slug: str
) -> None:
    answer = await client.post("/v1/batches", content=body, headers={"Content-Type": media_type} if media_type else {})
    assert_problem(answer, status, slug)
    assert not await events.xlen(ACCEPTED_STREAM)


@pytest.mark.parametrize("body", [b"", b"\n\n", b"nonsense"])
async def test_a_batch_of_nothing_is_a_batch_all_the_same(client: httpx2.AsyncClient, events: Redis, body: bytes) -> None:
    answer = await client.post("/v1/batches", content=body, headers=NDJSON)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 0)
    found = (await client.get(answer.headers["location"])).json()
    assert (found["total"], found["finished"], found["rejected"]) == (0, True, 1 if body.strip() else 0)


async def test_a_batch_is_read_before_the_ledger_has_it_and_after(client: httpx2.AsyncClient, gateway: Any) -> None:
    answer = await client.post("/v1/batches", content=b"http://a.test/1\nx\nhttp://a.test/2", headers=NDJSON)
    path, batch_id = answer.headers["location"], UUID(answer.json()["id"])
    promised = (await client.get(path)).json()
    assert (promised["total"], promised["counts"]["queued"], promised["finished"]) == (2, 2, False)
    assert [error["line"] for error in promised["errors"]] == [2]
    gateway.store.batches[batch_id] = BatchView(
        id=batch_id, created_at=utc_now(), total=2, counts=BatchCounts(succeeded=2), finished=True
    )
    kept = (await client.get(path)).json()
    assert (kept["counts"]["succeeded"], kept["finished"]) == (2, True)
    assert kept["links"] == {"self": path, "fetches": f"/v1/fetches?batch_id={batch_id}"}
    gateway.store.is_broken = True
    assert (await client.get(path)).json()["counts"]["queued"] == 2
    assert_problem(await client.get(f"/v1/batches/{uuid4()}"), 503, "store-unavailable")
    gateway.store.is_broken = False
    assert_problem(await client.get(f"/v1/batches/{uuid4()}"), 404, "not-found")


async def test_a_batch_waits_for_room_instead_of_failing(client: httpx2.AsyncClient, events: Redis) -> None:
    """The gateway of these tests lets 50 be on their way into the ledger; a ledger that takes its time is played here."""
    seen = 0

    async def ledger() -> None:
        nonlocal seen
        while True:
            ids = await events.hkeys(INGESTING_HASH)
            assert len(ids) <= 50
            if ids:
                await events.hdel(INGESTING_HASH, *ids)
                seen += len(ids)
            await asyncio.sleep(0.01)

    playing = asyncio.create_task(ledger())
    try:
        body = _pieces(b"http://a.test/%d\n" % number for number in range(230))
        answer = await client.post("/v1/batches", content=body, headers=NDJSON, timeout=WAIT_SECONDS)
    finally:
        playing.cancel()
    assert (answer.status_code, answer.json()["accepted"]) == (202, 230), answer.text
    fetches, [batch] = await _promised(events)
    assert len({fetch.id for fetch in fetches}) == batch.accepted == 230


async def test_a_batch_that_finds_no_room_says_how_much_was_accepted(client: httpx2.AsyncClient, events: Redis) -> None:
    body = b"\n".join(b"http://a.test/%d" % number for number in range(200))
    answer = await client.post("/v1/batches", content=body, headers=NDJSON, timeout=WAIT_SECONDS)
    document = assert_problem(answer, 503, "overloaded")
    fetches, _ = await _promised(events)
    assert f"{len(fetches)} lines" in document["detail"] and 0 < len(fetches) <= 50


async def test_a_request_that_breaks_off_is_no_whole_batch(client: httpx2.AsyncClient, events: Redis) -> None:
    await _break_off(client, events, b"".join(b"http://a.test/%d\n" % number for number in range(30)), headers=NDJSON)
    fetches, batches = await _promised(events)
    assert (batches[0].is_whole, batches[0].accepted) == (False, len(fetches))
    assert {fetch.batch_id for fetch in fetches} == {batches[0].id}


async def test_a_sender_that_falls_silent_is_told(client: httpx2.AsyncClient, events: Redis) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"http://a.test/1\n"
        await asyncio.sleep(WAIT_SECONDS)

    assert_problem(await client.post("/v1/batches", content=silent(), headers=NDJSON), 408, "upload-stalled")


async def test_a_body_that_is_too_large_is_refused_by_the_limit_it_breaks(client: httpx2.AsyncClient, events: Redis) -> None:
    """The gateway of these tests takes 4 MiB of NDJSON, 1 MiB of JSON and 2,000 lines."""
    large = await client.post("/v1/batches", content=b"x" * (4 * 1024 * 1024 + 1), headers=NDJSON)
    assert "4194304 bytes" in assert_problem(large, 413, "body-too-large")["detail"]
    document = json.dumps({"items": ["http://a.test/"], "pad": "x" * 1024 * 1024})
    large = await client.post("/v1/batches", content=document, headers={"Content-Type": "application/json"})
    assert "1048576 bytes" in assert_problem(large, 413, "body-too-large")["detail"]
    many = await client.post("/v1/batches", content=b"x\n" * 2001, headers=NDJSON)
    assert "2000 lines" in assert_problem(many, 413, "body-too-large")["detail"]
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_the_same_batch_under_the_same_key_is_one_batch(client: httpx2.AsyncClient, events: Redis) -> None:
    headers = NDJSON | {"Idempotency-Key": str(uuid4())}
    body = b"http://a.test/1\nnonsense\nhttp://a.test/2"
    first, again = [await client.post("/v1/batches", content=body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert (first.headers["location"], again.headers["idempotency-replayed"]) == (again.headers["location"], "true")
    other = await client.post("/v1/batches", content=body + b"3", headers=headers)
    assert_problem(other, 422, "idempotency-key-reused")
    fetches, batches = await _promised(events)
    assert (len(fetches), len(batches)) == (2, 1)


async def test_a_batch_that_broke_off_makes_the_same_fetches_when_it_comes_again(
    client: httpx2.AsyncClient, events: Redis
) -> None:
    headers = NDJSON | {"Idempotency-Key": str(uuid4())}
    lines = [b"http://a.test/%d\n" % number for number in range(45)]

    await _break_off(client, events, b"".join(lines[:30]), headers=headers)
    before, [part] = await _promised(events)
    await events.delete(INGESTING_HASH)  # the ledger has them
    answer = await client.post("/v1/batches", content=b"".join(lines), headers=headers)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["id"]) == (202, 45, str(part.id)), answer.text
    fetches, [_, whole] = await _promised(events)
    assert before and {fetch.id for fetch in before} < {fetch.id for fetch in fetches}
    assert (len({fetch.id for fetch in fetches}), whole.is_whole) == (45, True)
    urls = {fetch.id: fetch.request.url for fetch in before}
    assert all(fetch.request.url == urls[fetch.id] for fetch in fetches if fetch.id in urls)


async def test_a_batch_that_is_still_arriving_holds_its_key(client: httpx2.AsyncClient, events: Redis) -> None:
    headers = NDJSON | {"Idempotency-Key": str(uuid4())}
    refused = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"".join(b"http://a.test/%d\n" % number for number in range(20))
        async with asyncio.timeout(WAIT_SECONDS):
            await refused.wait()

    first = asyncio.create_task(client.post("/v1/batches", content=slow(), headers=headers))
    async with asyncio.timeout(WAIT_SECONDS):
        while not await events.xlen(ACCEPTED_STREAM):
            await asyncio.sleep(0.01)
    try:
        assert_problem(await client.post("/v1/batches", content=b"x", headers=headers), 409, "idempotency-key-in-flight")
    finally:
        refused.set()
    assert (await first).json()["accepted"] == 20


async def test_a_batch_that_comes_again_while_its_first_try_is_on_its_way_loses_nothing(
    client: httpx2.AsyncClient, events: Redis
) -> None:
    """The ledger is behind. A line that was good has expired since, so that the fetches come in other parts than before."""
    headers = NDJSON | {"Idempotency-Key": str(uuid4())}
    lines = [b"http://a.test/%d\n" % number for number in range(45)]

    await _break_off(client, events, b"".join(lines[:30]), headers=headers)
    lines[5] = b"http://a.test/ expired\n"
    answer = await client.post("/v1/batches", content=b"".join(lines), headers=headers)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 44, 1), answer.text
    fetches, batches = await _promised(events)
    urls = {fetch.request.url for fetch in fetches}
    assert {line.decode().strip() for number, line in enumerate(lines) if number != 5} <= urls
    assert (batches[-1].is_whole, batches[-1].accepted) == (True, 44)
    assert len({fetch.id for fetch in fetches}) == 45
    found = (await client.get(answer.headers["location"])).json()
    assert (found["total"], found["rejected"]) == (44, 1)


async def test_other_content_under_the_same_key_and_number_is_another_fetch(client: httpx2.AsyncClient, events: Redis) -> None:
    """What broke off has no fingerprint: whoever corrects a line and sends it again is promised that line."""
    headers = NDJSON | {"Idempotency-Key": str(uuid4())}

    await _break_off(client, events, b"".join(b"http://a.test/%d\n" % number for number in range(25)), headers=headers)
    answer = await client.post("/v1/batches", content=b"http://a.test/other", headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1), answer.text
    fetches, _ = await _promised(events)
    assert len({fetch.id for fetch in fetches}) == 21 and fetches[-1].request.url == "http://a.test/other"
