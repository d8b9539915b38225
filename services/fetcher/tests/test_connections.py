"""Connections: kept, broken, refused, and behind TLS."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType

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
