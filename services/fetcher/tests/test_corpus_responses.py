"""Stage `response` of the shared SSRF corpus: a raw server plays each fixture, and the named hazard does not happen.

Every fetch ends by itself, with the error that REASONS says, within its budget and a second.
"""

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from common.clock import utc_now
from common.contracts.fetches import ErrorType
from common.egress.policies import TargetPolicy

from fetcher.egress.budgets import Budgets
from fetcher.perform import perform

REASONS: dict[str, set[ErrorType] | None] = {
    "decompressed_too_large": {ErrorType.TOO_LARGE},
    "body_too_large": {ErrorType.TOO_LARGE},
    "headers_too_large": {ErrorType.TOO_LARGE},
    "too_many_encodings": {ErrorType.DECODE},
    "bad_response": {ErrorType.PROTOCOL},
    "total_timeout": {ErrorType.TIMEOUT},
    "read_timeout": {ErrorType.TIMEOUT},
    "connection_discarded": None,
    "no_cookies": None,
    "no_echo": None,
    "charset_fallback": None,
    "no_render": None,
    "no_unpack": None,
    "nul_safe": None,
    "log_safe": None,
    "alt_svc_ignored": None,
    "refresh_not_followed": None,
    "retry_after_capped": None,
}
"""What the corpus calls a hazard → how the fetch ends; None: with a response, and only the hazard must not happen."""
OURS = {
    "response_size-009": {ErrorType.DECODE},  # a body that ends early is the coding's failure where there is one
    "response_size-011": {ErrorType.DECODE},  # a coding that was not offered
    "response_time-007": {ErrorType.TOO_LARGE},  # informational heads count as header bytes
}
BUDGETS = Budgets(connect_seconds=1, first_byte_seconds=1, idle_seconds=1)
CAP = 1024 * 1024
SLOW_SECONDS = 0.02
"""Between two bytes of a slow sender: the corpus says one second, here everything is faster by the same factor."""
CASES = [
    case for case in json.loads((Path(__file__).parent / "ssrf_corpus.json").read_text()) if case["stage"] == "response"
]
OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 2\r\n\r\nok"


@lru_cache
def _compressed(coding: str, size: int) -> bytes:
    piece, data = bytes(CAP), b""
    if coding == "br":
        brotler = brotli.Compressor(quality=4)
        data = b"".join(brotler.process(piece) for _ in range(size // CAP)) + brotler.process(bytes(size % CAP))
        return data + bytes(brotler.finish())
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[coding]
    press = zlib.compressobj(wbits=bits)
    data = b"".join(press.compress(piece) for _ in range(size // CAP)) + press.compress(bytes(size % CAP))
    return data + press.flush()


def _coded(fixture: Any, coding: str | None = None) -> bytes:
    name = fixture["encoding"]
    body = _compressed(coding or name, fixture.get("expanded", 2048)) if name != "compress" else b"\x1f\x9d\x90"
    if fixture.get("truncate"):
        body = body[:-5]
    return OK + f"Content-Encoding: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _head(fixture: Any) -> bytes:
    body = bytes.fromhex(fixture["bytes"]) if "bytes" in fixture else fixture.get("body", "=1+1\n").encode()
    lines = [f"HTTP/1.1 {fixture.get('status', 200)} X"]
    if "raw" in fixture:
        lines.append(fixture["raw"])
    if "content_type" in fixture:
        lines.append(f"Content-Type: {fixture['content_type']}")
    lines += [f"{name}: {value}" for name, value in (fixture.get("headers") or {}).items()] if _has_named(fixture) else []
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def _has_named(fixture: Any) -> bool:
    return isinstance(fixture.get("headers"), dict)


STATIC: dict[str, Callable[[Any], bytes]] = {
    "encodings": lambda fixture: OK + b"Content-Encoding: gzip\r\n" * len(fixture["encodings"]) + b"Content-Length: 2\r\n\r\nxx",
    "encoding": _coded,
    "send": lambda fixture: (
        f"HTTP/1.1 {fixture.get('status', 200)} X\r\n".encode()
        + (f"Content-Length: {fixture['content_length']}\r\n".encode() if "content_length" in fixture else b"")
        + b"\r\n" + b"x" * fixture["send"]
    ),
    "content_length": lambda fixture: OK + f"Content-Length: {fixture['content_length']}\r\n\r\nxx".encode(),
    "content_lengths": lambda fixture: (
        OK + "".join(f"Content-Length: {length}\r\n" for length in fixture["content_lengths"]).encode() + b"\r\nxxxxxx"
    ),
    "chunk_size": lambda fixture: OK + f"Transfer-Encoding: chunked\r\n\r\n{fixture['chunk_size']}\r\nxx".encode(),
    "http09": lambda _: b"<html>hello</html>",
    "status_line_text": lambda fixture: f"{fixture['status_line_text']}\r\nContent-Length: 2\r\n\r\nok".encode(),
    "header_line": lambda fixture: OK + b"X: " + b"x" * fixture["header_line"] + b"\r\nContent-Length: 2\r\n\r\nok",
    "cookies": lambda fixture: (
        OK + b"".join(b"Set-Cookie: c%d=1\r\n" % number for number in range(fixture["cookies"])) + b"Content-Length: 0\r\n\r\n"
    ),
}


async def _endless(first: bytes, again: bytes, *, seconds: float = 0) -> AsyncIterator[bytes]:
    yield first
    while True:
        await asyncio.sleep(seconds)  # a slow sender is what is played here, or else a turn of the loop
        yield again


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
BLOCK = bytes(64 * 1024)
BY_CHUNKED = {
    "endless": lambda: _endless(CHUNKED, b"10000\r\n" + BLOCK + b"\r\n"),
    "one-byte": lambda: _endless(CHUNKED, b"1\r\nx\r\n", seconds=SLOW_SECONDS),
    "three": lambda: _once(CHUNKED + b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"),
}
STREAMS: dict[str, Callable[[Any], AsyncIterator[bytes]]] = {
    "chunked": lambda kind: BY_CHUNKED[kind](),
    "chunk_extension": lambda size: _endless(CHUNKED, b"1;" + b"e" * size + b"\r\nx\r\n"),
    "close_delimited": lambda _: _endless(OK + b"\r\n", BLOCK),
    "header_byte_interval": lambda _: _endless(OK + b"X-Slow: ", b"x", seconds=SLOW_SECONDS),
    "body_byte_interval": lambda _: _endless(OK + b"Content-Length: 1000000\r\n\r\n", b"x", seconds=SLOW_SECONDS),
    "informational": lambda _: _endless(b"", INTERIM),
    "stall": lambda _: _endless(b"", b"", seconds=SLOW_SECONDS),
}


def _stream(fixture: Any) -> AsyncIterator[bytes]:
    if isinstance(fixture.get("headers"), int):
        return _once(OK + b"X: y\r\n" * fixture["headers"] + b"Content-Length: 2\r\n\r\nok")
    kind = next((kind for kind in STREAMS if kind in fixture), None)
    if kind is not None:
        return STREAMS[kind](fixture[kind])
    kind = next((kind for kind in STATIC if kind in fixture), None)
    return _once(STATIC[kind](fixture) if kind else _head(fixture))


@dataclass
class _Origin:
    """Plays a fixture on the first request, or on all; says `ok` to any other. Notes the requests of each connection."""

    fixture: Any
    coding: str | None = None
    redirects_to: str | None = None
    connections: list[list[bytes]] = field(default_factory=list)

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        self.connections.append(mine)
        while True:
            mine.append(await reader.readuntil(b"\r\n\r\n"))
            if self.redirects_to and len(self.connections) == 1:
                head = f"HTTP/1.1 302 Found\r\n{self.fixture['raw']}\r\nLocation: {self.redirects_to}\r\n"
                writer.write(head.encode() + b"Content-Length: 0\r\n\r\n")
            elif "reset" in self.fixture:
                writer.write(OK + b"Content-Length: 100\r\n\r\nhalf")
                await writer.drain()
                writer.transport.abort()
                return
            elif self.coding:
                writer.write(_coded(self.fixture, self.coding))
            else:
                async for data in _stream(self.fixture):
                    writer.write(data)
                    await writer.drain()
            if any(kind in self.fixture for kind in ("http09", "truncate", "status_line_text", "chunk_size")):
                return

    @property
    def requests(self) -> list[bytes]:
        return [request for connection in self.connections for request in connection]


def _for_canary(fixture: Any, *, port: int) -> Any:
    """Whatever the fixture wants followed on 127.0.0.1 leads to the canary, which the policy here would allow."""
    text = json.dumps(fixture).replace("http://127.0.0.1/", f"http://127.0.0.1:{port}/")
    return json.loads(text.replace("127.0.0.1:443", f"127.0.0.1:{port}"))


async def _attempt(client: Any, asked: Any, *, seconds: float) -> Any:
    """The attempt, which ends by itself within its budget and a second."""
    started_at = time.monotonic()
    attempted = await asyncio.wait_for(perform(asked, client=client), seconds + 5)
    assert time.monotonic() - started_at < seconds + 1
    return attempted


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
async def test_what_an_origin_sends_ends_as_it_should(
    case: Any, make_client, command, names, dials, serve_raw, corpus, capfd: pytest.CaptureFixture[str]
) -> None:
    fixture = _for_canary(case.get("fixture") or {}, port=corpus.canary.port)
    codings = ("deflate", "raw deflate") if fixture.get("encoding") == "deflate" else (None,)
    for coding in codings:
        if "encoding" in fixture:
            _coded(fixture, coding)  # made beforehand: pressing a bomb takes longer than the fetch may
        origin = _Origin(fixture, coding=coding)
        listener = await serve_raw(origin.play)
        is_total = case.get("reason") == "total_timeout"
        edges: dict[str, Any] = {"budgets": Budgets() if is_total else BUDGETS}
        if case["policy"] == "docnet":
            names.answers, dials.port = {"public.test": [["93.184.216.34"]]}, listener.port
            edges |= {"policy": TargetPolicy(), "lookup": names, "open_socket": dials}
        client = make_client(**edges)
        seconds = 0.5 if is_total else 5.0
        asked = command(
            case["input"].replace("{port}", str(listener.port)),
            max_bytes=fixture.get("cap", CAP),
            timeout_seconds=seconds,
            headers={"X-Mine": "1"},
        )
        attempted = await _attempt(client, asked, seconds=seconds if is_total else BUDGETS.first_byte_seconds)
        outcome, expected = attempted.outcome, OURS.get(case["id"], REASONS[case["reason"]] if "reason" in case else None)
        if expected is None:
            is_failed = case.get("reason") == "connection_discarded" and outcome.error is not None
            assert outcome.error.type is ErrorType.PROTOCOL if is_failed else outcome.response is not None, outcome.error
            await HAZARDS.get(case.get("reason", ""), _assert_kept)(
                _Played(case=case, fixture=fixture, origin=origin, client=client, asked=asked, attempted=attempted)
            )
        else:
            assert outcome.error is not None and outcome.error.type in expected, outcome
            assert outcome.response is None and outcome.body is None
            assert outcome.evidence.decoded_bytes <= asked.request.max_bytes + 1
        assert len(outcome.evidence.hops) == 1
    assert corpus.canary.look() == 0
    assert capfd.readouterr().out == ""
    corpus.played.add(case["id"])


@dataclass
class _Played:
    case: Any
    fixture: Any
    origin: _Origin
    client: Any
    asked: Any
    attempted: Any

    @property
    def body(self) -> bytes:
        return zstandard.decompress(self.attempted.body) if self.attempted.body else b""


async def _assert_kept(played: _Played) -> None:
    """The body is kept byte for byte, under its declared type, in one request."""
    fixture = played.fixture
    expected = bytes.fromhex(fixture["bytes"]) if "bytes" in fixture else fixture.get("body", "=1+1\n").encode()
    if "encoding" in fixture:
        expected = bytes(fixture["expanded"])
    if "chunked" in fixture:
        expected = b"abcdef"
    assert played.body == expected
    declared = fixture.get("content_type", "").partition(";")[0] or None
    assert played.attempted.outcome.response.media_type == declared
    assert len(played.origin.requests) == 1


async def _assert_discarded(played: _Played) -> None:
    """What the message declared is its content, or it is refused when more came along; what followed is nobody's response."""
    if played.attempted.outcome.response is not None:
        assert len(played.body) == played.fixture.get("content_length", 0)
    again = await perform(played.asked, client=played.client)
    assert not again.outcome.evidence.hops[0].is_reused
    assert [len(requests) for requests in played.origin.connections] == [1, 1]


async def _assert_no_cookies(played: _Played) -> None:
    """Nothing of it comes back: not on the next fetch, not after a redirect to another origin."""
    again = await perform(played.asked, client=played.client)
    assert again.outcome.response is not None
    other = _Origin(played.fixture)
    server = await asyncio.start_server(other.play, "127.0.0.2", 0)
    place = server.sockets[0].getsockname()
    first = _Origin(played.fixture, redirects_to=f"http://127.0.0.2:{place[1]}/")
    front = await asyncio.start_server(first.play, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}/"
    request = played.asked.request.model_copy(update={"url": url})
    moved = await perform(played.asked.model_copy(update={"request": request}), client=played.client)
    assert len(moved.outcome.evidence.hops) == 2
    sent = played.origin.requests + first.requests + other.requests
    assert len(sent) == 4 and not any(b"\r\ncookie:" in request.lower() for request in sent)
    front.close()
    server.close()


async def _assert_no_echo(played: _Played) -> None:
    """A header of theirs stays one pair of name and value: data, which no escape turns into another header."""
    name, _, value = played.fixture["raw"].partition(": ")
    headers = played.attempted.outcome.response.headers
    assert (name, value) in headers and not any("\r" in value or "\n" in value for _, value in headers)
    assert [key.lower() for key, _ in headers].count("set-cookie") == (name == "Set-Cookie")


async def _assert_capped(played: _Played) -> None:
    """We never wait longer than a day, whoever asks."""
    not_before = played.attempted.outcome.not_before
    assert not_before is not None and not_before <= utc_now() + timedelta(days=1, seconds=1)


HAZARDS: dict[str, Any] = {
    "connection_discarded": _assert_discarded,
    "no_cookies": _assert_no_cookies,
    "no_echo": _assert_no_echo,
    "retry_after_capped": _assert_capped,
}
