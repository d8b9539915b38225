"""Responses from the website from hell: each ends in an outcome, and none takes longer or more than it may."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import zstandard
from aiohttp import web
from common.contracts.fetches import ErrorType, OutcomeKind

from fetcher.perform import perform

OK = b"HTTP/1.1 200 OK\r\n"


def _says(raw: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    return play


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", ErrorType.PROTOCOL),
        (b"hello there\r\n\r\n", ErrorType.PROTOCOL),  # HTTP/0.9
        (b"ICY 200 OK\r\n\r\n", ErrorType.PROTOCOL),
        (b"HTTP/1.1 abc OK\r\n\r\n", ErrorType.PROTOCOL),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", ErrorType.TOO_LARGE),
        (OK + b"X: a\r\n" * 10_000 + b"\r\n", ErrorType.TOO_LARGE),
        (OK + (b"X: " + b"a" * 9000 + b"\r\n") * 20 + b"\r\n", ErrorType.TOO_LARGE),  # a block over 64 KiB of decent lines
        (OK + b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"no colon here\r\nContent-Length: 0\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"X-A: a\rSet-Cookie: x=y\r\nContent-Length: 0\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"X-A : b\r\nContent-Length: 0\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"Content-Length: -1\r\n\r\n", ErrorType.PROTOCOL),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", ErrorType.PROTOCOL),
        (OK + b"Content-Length: 10\r\n\r\nhello", ErrorType.PROTOCOL),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", ErrorType.PROTOCOL),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", ErrorType.PROTOCOL),
        (OK + b"Content-Length: 10995116277760\r\n\r\n", ErrorType.TOO_LARGE),
        (OK + b"Content-Length: 2001\r\n\r\n" + bytes(2001), ErrorType.TOO_LARGE),
        (OK + b"\r\n" + bytes(2001), ErrorType.TOO_LARGE),  # until close
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"3e8\r\n" + bytes(1000) + b"\r\n") * 3, ErrorType.TOO_LARGE),
        (OK + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nhello", ErrorType.DECODE),
        (OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", ErrorType.DECODE),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", ErrorType.DECODE),
    ],
)
async def test_malformed_or_oversized_response(raw: bytes, error: ErrorType, serve_raw, make_client, command) -> None:
    origin = await serve_raw(_says(raw))
    attempted = await perform(command(origin.url(), timeout_seconds=5, max_bytes=2000), client=make_client())
    assert attempted.outcome.error is not None, attempted.outcome.response
    assert attempted.outcome.error.type is error
    assert attempted.outcome.response is None and attempted.body is None
    assert attempted.outcome.evidence.hops[0].peer == "127.0.0.1"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (OK + b"\r\nhello", b"hello"),
        (OK + b"Content-Length: 5\r\n\r\nhello and five megabytes more", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\nhello", None),
        (OK + b"Content-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5000\r\nContent-Encoding: br\r\n\r\n", None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nContent-Encoding: br\r\n\r\n", None),
        (OK + b"Content-Length: 0\r\nContent-Encoding: gzip\r\n\r\n", None),
    ],
)
async def test_odd_but_readable_response(raw: bytes, body: bytes | None, serve_raw, make_client, command) -> None:
    origin = await serve_raw(_says(raw))
    attempted = await perform(command(origin.url(), timeout_seconds=5, max_bytes=2000), client=make_client())
    assert attempted.outcome.error is None
    assert (zstandard.decompress(attempted.body) if attempted.body else None) == body
    assert (attempted.outcome.body is None) == (body is None)


@pytest.mark.parametrize("length", [5, 0])
@pytest.mark.parametrize("pause_seconds", [None, 0.02])
async def test_response_after_the_end_never_answers_another_request(
    length: int, pause_seconds: float | None, serve_raw, make_client, command
) -> None:
    async def smuggle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK + b"Content-Length: %d\r\n\r\n" % length + b"hello"[:length])
            if pause_seconds is not None:
                await writer.drain()
                await asyncio.sleep(pause_seconds)
            writer.write(b"HTTP/1.1 201 Smuggled\r\nContent-Length: 8\r\n\r\nsmuggled")
            await writer.drain()

    origin, client = await serve_raw(smuggle), make_client()
    for _ in range(3):
        outcome = (await perform(command(origin.url()), client=client)).outcome
        assert outcome.response is not None and outcome.response.status == 200
        await asyncio.sleep(0.05)


async def test_head_request_has_no_body(serve, make_client, command) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(9000), headers={"X-Kept": "yes"})

    attempted = await perform(command(await serve({"/": answer}), method="HEAD", max_bytes=10), client=make_client())
    head = attempted.outcome.response
    assert head is not None and ("Content-Length", "9000") in head.headers
    assert attempted.outcome.body is None and attempted.body is None


async def test_response_is_told_as_it_came(serve, make_client, command) -> None:
    content = b"<p>" + b"hello " * 2000

    async def answer(_request: web.Request) -> web.Response:
        headers = {"Content-Type": "Text/HTML; charset=utf-8", "Content-Encoding": "gzip"}
        return web.Response(body=gzip.compress(content), headers=headers)

    base = await serve({"/page": answer})
    attempted = await perform(command(f"{base}/page?token=1#part"), client=make_client())
    outcome, evidence = attempted.outcome, attempted.outcome.evidence
    assert outcome.kind is OutcomeKind.FETCHED and outcome.response is not None and outcome.body is not None
    assert (outcome.response.media_type, outcome.response.final_url) == ("text/html", f"{base}/page?token=1")
    assert (evidence.decoded_bytes, evidence.wire_bytes) == (len(content), len(gzip.compress(content)))
    assert zstandard.decompress(attempted.body or b"") == content
    assert 0 < evidence.connect_seconds < evidence.total_seconds and evidence.first_byte_seconds > 0
    assert attempted.host == base.removeprefix("http://")


async def test_header_bytes_that_are_no_utf8_survive_as_text(serve_raw, make_client, command) -> None:
    origin = await serve_raw(_says(OK + b"X-Name: caf\xe9\r\nX-Utf: caf\xc3\xa9\r\nContent-Length: 0\r\n\r\n"))
    outcome = (await perform(command(origin.url()), client=make_client())).outcome
    headers = json.loads(outcome.model_dump_json())["response"]["headers"]
    assert ["X-Name", "café"] in headers and ["X-Utf", "café"] in headers


async def _slow_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _informational_flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def _slow_redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        await asyncio.sleep(0.15)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("play", [_slow_headers, _slow_body, _silence, _informational_flood, _slow_redirects])
async def test_total_deadline_ends_what_no_single_read_would(play: Any, serve_raw, make_client, command) -> None:
    origin = await serve_raw(play)
    outcome = (await perform(command(origin.url(), timeout_seconds=0.4), client=make_client())).outcome
    assert outcome.kind is OutcomeKind.TIMED_OUT and outcome.is_retryable
    assert outcome.error is not None and outcome.error.type is ErrorType.TIMEOUT
    assert 0.4 <= outcome.evidence.total_seconds < 1.0


async def test_attempt_ends_before_its_lease_does(serve_raw, make_client, command) -> None:
    origin = await serve_raw(_silence)
    outcome = (await perform(command(origin.url(), timeout_seconds=30, lease_seconds=0.6), client=make_client())).outcome
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert outcome.evidence.total_seconds < 0.5


async def test_name_that_is_nowhere_is_a_dns_error(make_client, command) -> None:
    outcome = (await perform(command("http://nowhere.example.com/"), client=make_client())).outcome
    assert outcome.error is not None and outcome.error.type is ErrorType.DNS and outcome.is_retryable
    assert outcome.evidence.hops[0].verdict == "unknown"
