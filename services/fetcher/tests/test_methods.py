"""Methods and bodies: what goes out, and that what is not idempotent goes out once."""

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import BinaryBody, ErrorType

from fetcher.perform import perform

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class Echo:
    """Remembers what came."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append((request.method, await request.read(), request.headers))
        return web.Response(text="ok")


async def _outcome(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


@pytest.mark.parametrize("method", METHODS)
async def test_method_goes_out_as_asked(method: str, serve, make_client, command) -> None:
    echo = Echo()
    outcome = await _outcome(make_client(), command(await serve({"/": echo.answer}), method=method))
    [(seen, body, headers)] = echo.seen
    assert (seen, body) == (method, b"") and "Content-Type" not in headers
    assert headers.get("Content-Length") == (None if method in ("GET", "HEAD") else "0"), "RFC 9110 section 8.6"
    assert "Transfer-Encoding" not in headers
    assert headers.get("Connection") == ("close" if method in ("POST", "PATCH") else None), "RFC 9112 section 9.6"
    assert outcome.evidence.hops[0].method == method


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("body", "sent", "media_type"),
    [
        ("naïve", "naïve".encode(), "text/plain; charset=utf-8"),
        (BinaryBody(base64=base64.b64encode(bytes(range(256))).decode()), bytes(range(256)), "application/octet-stream"),
        ("x" * 32 * 1024, b"x" * 32 * 1024, "text/plain; charset=utf-8"),
    ],
)
async def test_body_goes_out_with_its_type(
    method: str, body: Any, sent: bytes, media_type: str, serve, make_client, command
) -> None:
    echo = Echo()
    await _outcome(make_client(), command(await serve({"/": echo.answer}), method=method, body=body))
    [(_, received, headers)] = echo.seen
    assert received == sent
    assert (headers["Content-Type"], headers["Content-Length"]) == (media_type, str(len(sent)))


async def test_callers_content_type_and_coding_stay(serve, make_client, command) -> None:
    echo = Echo()
    asked = {"content-type": "application/json", "Content-Encoding": "x-own", "Authorization": "Basic dTpw", "Cookie": "a=b"}
    await _outcome(make_client(), command(await serve({"/": echo.answer}), method="POST", body="{}", headers=asked))
    [(_, received, headers)] = echo.seen
    assert received == b"{}"
    assert {name: headers[name] for name in asked} == asked


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_idempotent_never_takes_a_kept_connection(method: str, serve, make_client, command) -> None:
    base, client = await serve({"/": Echo().answer}), make_client()
    await _outcome(client, command(base))
    hops = [(await _outcome(client, command(base, method=method, body="x"))).evidence.hops[0] for _ in range(2)]
    assert [hop.is_reused for hop in hops] == [False, False]
    assert (await _outcome(client, command(base, method="PUT", body="x"))).evidence.hops[0].is_reused


@pytest.mark.parametrize("method", METHODS)
async def test_request_goes_again_only_when_that_does_no_harm(method: str, serve_raw, make_client, command) -> None:
    requests = []

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append((await reader.readuntil(b"\r\n\r\n")).split(b" ", 1)[0].decode())
            if len(requests) > 1:
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin, client = await serve_raw(answer_the_first), make_client()
    await _outcome(client, command(origin.url()))
    outcome = await _outcome(client, command(origin.url(), method=method))
    assert outcome.error.type is ErrorType.PROTOCOL
    is_sent_once = method in ("POST", "PATCH")
    assert requests[1:] == [method] * (1 if is_sent_once else 2)
    assert outcome.is_retryable is not is_sent_once


async def test_from_names_who_answers_for_the_robot(serve, make_client, command) -> None:
    echo = Echo()
    base, client = await serve({"/": echo.answer}), make_client(contact="robots@example.org")
    await _outcome(client, command(base))
    await _outcome(client, command(base, headers={"from": "me@example.org"}))
    assert [headers.getall("From") for _, _, headers in echo.seen] == [["robots@example.org"], ["me@example.org"]]


async def test_any_media_type_is_accepted_unless_the_caller_says_which(serve, make_client, command) -> None:
    echo = Echo()
    base, client = await serve({"/": echo.answer}), make_client()
    await _outcome(client, command(base))
    await _outcome(client, command(base, headers={"accept": "text/html"}))
    assert [headers.getall("Accept") for _, _, headers in echo.seen] == [["*/*"], ["text/html"]]


async def test_part_of_a_body_is_asked_for_uncoded(serve, make_client, command) -> None:
    echo = Echo()
    await _outcome(make_client(), command(await serve({"/": echo.answer}), headers={"Range": "bytes=0-1"}))
    assert echo.seen[0][2]["Accept-Encoding"] == "identity"
