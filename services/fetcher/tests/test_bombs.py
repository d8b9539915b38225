"""What is sent to harm: each ends in its own error, names its budget, keeps what was received, and in time."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bombs import PLAYS, bomb
from common.contracts.fetches import Budget, ErrorType

from fetcher.egress.budgets import Budgets
from fetcher.perform import perform

MEBIBYTE = 1024 * 1024
BUDGETS = Budgets(connect_seconds=0.4, first_byte_seconds=0.4, idle_seconds=0.3)
TOTAL_SECONDS, LONG_SECONDS = 0.7, 10.0
GROWTH_LIMIT_BYTES = 100 * MEBIBYTE
WORKER = Path(__file__).with_name("bomb_worker.py")

TOO_LARGE, TIMEOUT, PROTOCOL = ErrorType.TOO_LARGE, ErrorType.TIMEOUT, ErrorType.PROTOCOL
ENDS: dict[str, tuple[ErrorType | None, Budget | None, int | None]] = {
    # what was sent: the error, the budget, the status that was received before
    "gzip bomb": (TOO_LARGE, Budget.DECODED_RATIO, 200),
    "deflate bomb": (TOO_LARGE, Budget.DECODED_RATIO, 200),
    "br bomb": (TOO_LARGE, Budget.DECODED_RATIO, 200),
    "zstd bomb": (TOO_LARGE, Budget.DECODED_RATIO, 200),
    "nested bomb": (ErrorType.DECODE, None, 200),
    "bomb in a redirect": (None, None, None),
    "flood of gzip members": (TOO_LARGE, Budget.WIRE_BYTES, 200),
    "slow head": (TIMEOUT, Budget.FIRST_BYTE, None),
    "silence": (TIMEOUT, Budget.FIRST_BYTE, None),
    "silence within TLS": (ErrorType.CONNECT, Budget.CONNECT, None),
    "endless head": (TOO_LARGE, Budget.HEADER_BYTES, None),
    "endless header line": (TOO_LARGE, Budget.HEADER_BYTES, None),
    "flood of interim responses": (TOO_LARGE, Budget.HEADER_BYTES, None),
    "slow flood of interim responses": (TIMEOUT, Budget.FIRST_BYTE, None),
    "slow body": (TIMEOUT, Budget.TOTAL, 200),
    "stalled body": (TIMEOUT, Budget.IDLE, 200),
    "stalled chunk": (TIMEOUT, Budget.IDLE, 200),
    "slow redirects": (TIMEOUT, Budget.TOTAL, None),
    "endless redirects": (ErrorType.TOO_MANY_REDIRECTS, Budget.REDIRECTS, 302),
    "endless chunks": (TOO_LARGE, Budget.DECODED_BYTES, 200),
    "endless chunk extensions": (TOO_LARGE, Budget.WIRE_BYTES, 200),
    "endless chunk extension": (TOO_LARGE, Budget.WIRE_BYTES, 200),
    "endless trailers": (TOO_LARGE, Budget.WIRE_BYTES, 200),
    "gibibyte declared": (TOO_LARGE, Budget.DECODED_BYTES, 200),
    "gibibyte declared and coded": (TOO_LARGE, Budget.WIRE_BYTES, 200),
    "gibibyte undeclared": (TOO_LARGE, Budget.DECODED_BYTES, 200),
    "truncated": (PROTOCOL, None, 200),
    "truncated chunks": (PROTOCOL, None, 200),
    "reset": (PROTOCOL, None, 200),
    "hung up": (PROTOCOL, None, None),
}


@pytest.fixture(scope="module", autouse=True)
def bombs_made() -> None:
    """Make them beforehand: that takes longer than a test may."""
    for coding in ("gzip", "deflate", "br", "zstd"):
        bomb(coding)


@pytest.mark.parametrize("name", PLAYS)
async def test_ends_in_its_own_error_and_in_time(name: str, serve_raw, make_client, command) -> None:
    error, exceeded, received = ENDS[name]
    origin = await serve_raw(PLAYS[name])
    url = origin.url().replace("http:", "https:") if "TLS" in name else origin.url()
    max_bytes = 200_000 if "members" in name else MEBIBYTE if "undeclared" in name or "chunks" in name else 10 * MEBIBYTE
    started_at = time.monotonic()
    # Only where the total is what must end it is the total short: a slow machine may take long over the others.
    total_seconds = TOTAL_SECONDS if exceeded is Budget.TOTAL else LONG_SECONDS
    asked = command(url, timeout_seconds=total_seconds, max_bytes=max_bytes)
    outcome = (await perform(asked, client=make_client(budgets=BUDGETS))).outcome
    seconds = time.monotonic() - started_at
    evidence = outcome.evidence
    assert (outcome.error.type if outcome.error else None, evidence.exceeded) == (error, exceeded)
    assert (evidence.received.status if evidence.received else None) == received
    assert seconds < total_seconds + 1
    assert evidence.wire_bytes <= max_bytes + BUDGETS.wire_slack_bytes + 512 * 1024
    assert evidence.decoded_bytes <= max_bytes + 1


async def test_what_was_received_is_kept(serve_raw, make_client, command) -> None:
    origin = await serve_raw(PLAYS["stalled body"])
    evidence = (await perform(command(origin.url()), client=make_client(budgets=BUDGETS))).outcome.evidence
    assert (evidence.wire_bytes, evidence.decoded_bytes) == (5, 5)
    assert evidence.received is not None and evidence.received.headers == (("Content-Length", "100"),)
    assert evidence.received.final_url == origin.url()


async def test_bomb_in_a_redirect_is_not_even_read(serve_raw, make_client, command) -> None:
    origin = await serve_raw(PLAYS["bomb in a redirect"])
    outcome = (await perform(command(origin.url()), client=make_client())).outcome
    assert (outcome.response.status, outcome.evidence.wire_bytes, outcome.evidence.decoded_bytes) == (200, 2, 2)


async def test_chunks_of_one_byte_are_no_flood(serve_raw, make_client, command) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        await writer.drain()

    outcome = (await perform(command((await serve_raw(play)).url()), client=make_client())).outcome
    assert outcome.response.status == 200 and outcome.body.size_bytes == 100_000


async def test_head_within_its_limits_is_read_whole(serve_raw, make_client, command) -> None:
    lines = [b"X-%d: %s\r\n" % (number, b"y" * 480) for number in range(127)]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"Content-Length: 200000\r\n\r\n" + bytes(200_000))
        await writer.drain()

    outcome = (await perform(command((await serve_raw(play)).url()), client=make_client())).outcome
    assert len(outcome.response.headers) == 128 and outcome.body.size_bytes == 200_000


async def test_worker_stays_small_whatever_is_thrown_at_it(serve_raw) -> None:
    origins: dict[str, Any] = {name: await serve_raw(play) for name, play in PLAYS.items()}
    # Members are empty: whoever waits until they add up to the usual limit measures the machine.
    urls = [origin.url() + ("#200000" if "members" in name else "") for name, origin in origins.items()] * 2
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), origins["bomb in a redirect"].url(), *urls, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    report = json.loads(output)
    peak, growth = (report[name] / MEBIBYTE for name in ("peak_bytes", "growth_bytes"))
    print(f"\n{len(urls)} bombs: peak {peak:.0f} MiB, grown by {growth:.1f} MiB")
    assert report["growth_bytes"] < GROWTH_LIMIT_BYTES
    # Here none is asked with TLS, and the total is long enough for every slow redirect.
    other = {"silence within TLS": ErrorType.TIMEOUT, "slow redirects": ErrorType.TOO_MANY_REDIRECTS}
    expected = {name: other.get(name) or ENDS[name][0] or "200" for name in PLAYS}
    assert dict(zip(PLAYS, report["came_of"], strict=False)) == expected
