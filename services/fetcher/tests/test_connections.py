"""Connections: kept, broken, refused, and behind TLS."""

import asyncio
import gc
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType

from fetcher.egress.kept import Keeping
from fetcher.perform import perform


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello", content_type="text/plain")


async def _outcome(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


async def test_kept_connection_is_reused_and_says_so(serve, make_client, command) -> None:
    base, client = await serve({"/": _hello}), make_client()
    hops = [(await _outcome(client, command(base))).evidence.hops[0] for _ in range(2)]
    assert [hop.is_reused for hop in hops] == [False, True]
    assert [hop.peer for hop in hops] == ["127.0.0.1", "127.0.0.1"]


async def test_above_the_limit_the_connection_that_is_idle_for_longest_is_closed(serve, make_client, command) -> None:
    evicted: list[int] = []
    client = make_client(keeping=Keeping(limit=2), on_evicted=lambda: evicted.append(1))
    first, second, third = [await serve({"/": _hello}) for _ in range(3)]

    async def reuses(base: str) -> bool:
        return bool((await _outcome(client, command(base))).evidence.hops[0].is_reused)

    assert [await reuses(base) for base in (first, second, first)] == [False, False, True]
    assert client.idle_connections == 2 and not evicted
    assert [await reuses(base) for base in (third, first, second)] == [False, True, False]
    assert client.idle_connections == 2 and len(evicted) == 2


async def test_the_connection_that_was_used_last_is_taken_first(serve_raw, make_client, command) -> None:
    """So that what a burst opened gets old, and is closed."""
    both, served = asyncio.Barrier(2), list[int]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(origin.connections)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            served.append(number)
            if len(served) <= 2:
                await both.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin, client = await serve_raw(answer), make_client()
    async with asyncio.timeout(5):
        await asyncio.gather(*[_outcome(client, command(origin.url())) for _ in range(2)])
        for _ in range(4):
            await _outcome(client, command(origin.url()))
    assert set(served[:2]) == {1, 2} and len(set(served[2:])) == 1


async def test_without_room_for_idle_connections_none_is_kept(serve, make_client, command) -> None:
    base, client = await serve({"/": _hello}), make_client(keeping=Keeping(limit=0))
    assert [(await _outcome(client, command(base))).evidence.hops[0].is_reused for _ in range(2)] == [False, False]
    assert client.idle_connections == 0


async def test_connections_that_origins_closed_take_no_room(serve, serve_raw, make_client, command) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    evicted: list[int] = []
    client = make_client(keeping=Keeping(limit=2), on_evicted=lambda: evicted.append(1))
    first, gone, last = await serve({"/": _hello}), (await serve_raw(once)).url(), await serve({"/": _hello})
    for base in (first, gone):
        await _outcome(client, command(base))
    async with asyncio.timeout(5):
        while client.idle_connections > 1:
            await asyncio.sleep(0.01)  # until the other side's end of the connection is known here
            client._connector._cleanup()  # as aiohttp's timer does now and then
    await _outcome(client, command(last))
    assert client.idle_connections == 2 and not evicted
    assert (await _outcome(client, command(first))).evidence.hops[0].is_reused


async def test_one_that_is_closed_already_is_not_counted_as_evicted(serve, serve_raw, make_client, command) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert await reader.read() == b""
        ended.set()

    ended, evicted = asyncio.Event(), list[int]()
    client = make_client(keeping=Keeping(limit=1), on_evicted=lambda: evicted.append(1))
    await _outcome(client, command((await serve_raw(once)).url()))
    for protocol in list(client._connector._idle):
        protocol.close()
    async with asyncio.timeout(5):
        await ended.wait()
    await _outcome(client, command(await serve({"/": _hello})))
    assert client.idle_connections == 1 and not evicted


async def test_connection_is_kept_for_as_long_as_it_is_said(serve_raw, make_client, command) -> None:
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert await reader.read() == b""
        ended.set()

    origin, client = await serve_raw(answer), make_client(keeping=Keeping(seconds=0.05))
    await _outcome(client, command(origin.url()))
    assert not ended.is_set() and client.idle_connections == 1
    async with asyncio.timeout(5):
        await ended.wait()


async def test_request_on_a_connection_that_just_ended_goes_out_on_another(serve_raw, make_client, command) -> None:
    """Nothing is written to it: it may be there no more between the look at what is kept and the writing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin, client = await serve_raw(answer), make_client()
    await _outcome(client, command(origin.url()))
    judge = client._connector.judge_connection

    def end_first(connection: Any, *, hop: Any) -> Any:
        transport, protocol = judge(connection, hop=hop)
        if not hop.is_reused:
            return transport, protocol
        gone = SimpleNamespace(is_closing=lambda: True, get_extra_info=lambda _: None, write=lambda _: pytest.fail("written"))
        return gone, protocol

    client._connector.judge_connection = end_first
    again = await _outcome(client, command(origin.url()))
    assert again.response.status == 200 and [hop.is_reused for hop in again.evidence.hops] == [True, False]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    ],
    ids=["no answer", "too many headers", "redirect with a body", "half a body"],
)
async def test_no_connection_is_left_to_the_garbage_collector(answer: bytes, serve_raw, make_client, command) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        outcome = await _outcome(make_client(), command((await serve_raw(say)).url()))
        assert outcome.error is not None
        del outcome
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert told == [], "aiohttp tells of each that it finds open"


async def test_request_goes_again_only_on_a_kept_connection_that_broke(serve_raw, make_client, command) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")  # the second request on this connection is never answered: it just ends

    origin, client = await serve_raw(once), make_client()
    assert (await _outcome(client, command(origin.url()))).response.status == 200
    again = await _outcome(client, command(origin.url()))
    assert again.response.status == 200
    assert [hop.is_reused for hop in again.evidence.hops] == [True, False] and len(origin.connections) == 2


async def test_fresh_connection_that_breaks_is_not_tried_again(serve_raw, make_client, command) -> None:
    async def hang_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    origin = await serve_raw(hang_up)
    outcome = await _outcome(make_client(), command(origin.url()))
    assert outcome.error.type is ErrorType.PROTOCOL and outcome.is_retryable
    assert len(origin.connections) == 1


async def test_nobody_listening_is_a_connect_error(serve, make_client, command) -> None:
    nobody = (await serve({"/": _hello})).replace("127.0.0.1", "127.77.0.1")
    outcome = await _outcome(make_client(), command(nobody))
    assert outcome.error.type is ErrorType.CONNECT and outcome.is_retryable
    assert "127" not in outcome.error.detail


async def test_out_of_sockets_is_our_own_fault(make_client, command) -> None:
    def exhausted(*_: int) -> Any:
        raise OSError(24, "Too many open files")

    with pytest.raises(OSError, match="Too many"):
        await _outcome(make_client(open_socket=exhausted), command("http://127.0.0.1:1/"))


async def test_certificate_nobody_vouches_for_is_refused(serve, make_client, command, server_tls: ssl.SSLContext) -> None:
    outcome = await _outcome(make_client(), command(await serve({"/": _hello}, tls=server_tls)))
    assert outcome.error.type is ErrorType.TLS and not outcome.is_retryable


async def test_trusted_certificate_is_accepted_for_its_own_name_only(
    serve, make_client, command, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    client = make_client(tls=ssl.create_default_context(cafile=str(certificate)))
    good = await _outcome(client, command(await serve({"/": _hello}, tls=server_tls)))
    assert good.response.status == 200 and good.evidence.tls_version in ("TLSv1.2", "TLSv1.3")
    other = await serve({"/": _hello}, tls=server_tls, address="127.0.0.2")
    assert (await _outcome(client, command(other))).error.type is ErrorType.TLS


async def test_plain_http_where_tls_was_asked_for_is_a_tls_error(serve, make_client, command) -> None:
    base = await serve({"/": _hello})
    outcome = await _outcome(make_client(), command(base.replace("http:", "https:")))
    assert outcome.error.type is ErrorType.TLS
