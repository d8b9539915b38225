"""The guard as a whole: what is refused is never dialled, by no way in."""

import asyncio
import json
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from common.contracts.fetches import ErrorType, OutcomeKind
from common.egress.addresses import AddressVerdict
from common.egress.policies import TargetPolicy

from fetcher.egress.budgets import Budgets
from fetcher.egress.dial import guarded_connector, guarded_socket_factory
from fetcher.egress.evidence import CURRENT_HOP, HopRecord
from fetcher.egress.kept import Keeping
from fetcher.egress.resolver import GuardedResolver
from fetcher.errors import ExchangeFailed
from fetcher.perform import perform

DEFAULT = TargetPolicy()
PUBLIC = "93.184.216.34"


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello", content_type="text/plain")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()


async def _outcome(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


@pytest.mark.parametrize("host", ["127.66.0.1", "[::1]", "[::ffff:127.66.0.1]"])
async def test_refused_literal_sees_no_connection(host: str, serve_raw, make_client, command) -> None:
    canary = await serve_raw(_answer, address="127.66.0.1")
    outcome = await _outcome(make_client(DEFAULT), command(f"http://{host}:{canary.port}/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert outcome.kind is OutcomeKind.REFUSED and not outcome.is_retryable
    assert outcome.evidence.hops[0].verdict.startswith("deny_") and outcome.evidence.hops[0].peer is None
    assert canary.connections == []


async def test_name_of_a_refused_address_sees_no_connection(serve_raw, make_client, command, names) -> None:
    canary = await serve_raw(_answer, address="127.66.0.1")
    names.answers["www.example.com"] = [["127.66.0.1"]]
    policy = TargetPolicy(ports=frozenset({80, canary.port}))
    outcome = await _outcome(make_client(policy, lookup=names), command(f"http://www.example.com:{canary.port}/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert outcome.evidence.hops[0].verdict == "deny_loopback"
    assert outcome.evidence.hops[0].addresses == ("127.66.0.1",)
    assert "127" not in outcome.error.detail
    assert canary.connections == []


@pytest.mark.parametrize("address", ["127.66.0.1", "::1", "::ffff:127.66.0.1", "169.254.169.254"])
def test_no_socket_is_opened_for_a_refused_address_whoever_asks(address: str, dials) -> None:
    hop = HopRecord(url="http://www.example.com/")
    CURRENT_HOP.set(hop)
    make_socket = guarded_socket_factory(DEFAULT, open_socket=dials)
    with pytest.raises(PermissionError):
        make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))
    assert dials.opened == 0 and hop.verdict.is_denial


async def test_peer_that_is_not_the_dialled_address_gets_no_request(serve_raw, make_client, command, names, dials) -> None:
    received = []

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1))

    origin = await serve_raw(listen)
    dials.port, dials.claims = origin.port, "93.184.216.99"
    names.answers["www.example.com"] = [[PUBLIC]]
    outcome = await _outcome(make_client(DEFAULT, lookup=names, open_socket=dials), command("http://www.example.com/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert outcome.evidence.hops[0].verdict == "deny_peer"
    assert set(received) <= {b""}


async def test_connection_that_no_dial_of_ours_opened_gets_no_request(names, tls: ssl.SSLContext) -> None:
    """Even when its other end would be allowed: a kept connection is one that was judged when it was opened."""
    connector = guarded_connector(
        DEFAULT,
        resolver=GuardedResolver(DEFAULT, lookup=names),
        open_socket=socket.socket,
        tls=tls,
        budgets=Budgets(connect_seconds=1),
        keeping=Keeping(),
    )
    stray: Any = SimpleNamespace(
        transport=SimpleNamespace(get_extra_info=lambda _: (PUBLIC, 80)), protocol=ResponseHandler(asyncio.get_running_loop())
    )
    hop = HopRecord(url="http://www.example.com/")
    with pytest.raises(ExchangeFailed):
        connector.judge_connection(stray, hop=hop)
    assert hop.verdict is AddressVerdict.DENY_PEER
    await connector.close()


async def test_localhost_is_fetched_only_where_its_network_is_listed(serve, make_client, command, names) -> None:
    base = (await serve({"/": _hello})).replace("127.0.0.1", "localhost")
    names.answers["localhost"] = [["127.0.0.1"]]
    refused = await _outcome(make_client(DEFAULT, lookup=names), command(base))
    assert refused.error.type is ErrorType.REFUSED_ADDRESS and names.asked == []
    fetched = await _outcome(make_client(lookup=names), command(base))
    assert fetched.response.status == 200 and fetched.evidence.hops[0].verdict == "unsafe_network"


async def test_cloud_metadata_name_is_refused_without_lookup(make_client, command, names) -> None:
    outcome = await _outcome(make_client(DEFAULT, lookup=names), command("http://metadata.google.internal/computeMetadata/v1/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS and names.asked == []


async def test_port_of_a_public_address_is_refused_and_of_a_private_one_is_not_even_named(make_client, command, dials) -> None:
    client = make_client(DEFAULT, open_socket=dials)
    assert (await _outcome(client, command(f"http://{PUBLIC}:6379/"))).error.type is ErrorType.REFUSED_PORT
    assert (await _outcome(client, command("http://127.0.0.1:9999/"))).error.type is ErrorType.REFUSED_ADDRESS
    assert dials.opened == 0


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://example.com/", ErrorType.REFUSED_SCHEME),
        ("file:///etc/passwd", ErrorType.REFUSED_SCHEME),
        ("http://u:p@example.com/", ErrorType.INVALID_URL),
        ("http://127.1/", ErrorType.INVALID_URL),
        ("http://127.66.0.1./", ErrorType.INVALID_URL),
    ],
)
async def test_unreadable_url_is_refused_before_anything_else(url: str, error: ErrorType, make_client, command, names) -> None:
    outcome = await _outcome(make_client(DEFAULT, lookup=names), command(url))
    assert outcome.error.type is error and names.asked == []


@pytest.mark.parametrize(
    "location", ["http://127.66.0.1/", "//127.66.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://localhost/"]
)
async def test_redirect_is_judged_again(location: str, serve_raw, make_client, command, names, dials) -> None:
    async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    dials.port = (await serve_raw(redirecting)).port
    names.answers["www.example.com"] = [[PUBLIC]]
    outcome = await _outcome(make_client(DEFAULT, lookup=names, open_socket=dials), command("http://www.example.com/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert [hop.status for hop in outcome.evidence.hops] == [302, None]
    assert dials.opened == 1


async def test_redirect_to_the_same_name_is_looked_up_again(serve_raw, make_client, command, names, dials) -> None:
    async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    dials.port = (await serve_raw(redirecting)).port
    names.answers["rebind.example.com"] = [[PUBLIC], ["127.66.0.1"]]
    outcome = await _outcome(make_client(DEFAULT, lookup=names, open_socket=dials), command("http://rebind.example.com/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS
    assert names.asked == ["rebind.example.com"] * 2 and dials.opened == 1


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("gopher://127.0.0.1:6379/_x", ErrorType.REFUSED_SCHEME),
        ("\\\\127.0.0.1\\", ErrorType.INVALID_URL),
        ("http://u:p@www.example.com/", ErrorType.INVALID_URL),
        ("http:///x", ErrorType.INVALID_URL),
    ],
)
async def test_redirect_that_is_no_url_of_ours_is_refused(location: str, error: ErrorType, serve, make_client, command) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    outcome = await _outcome(make_client(), command(await serve({"/": redirect})))
    assert outcome.error.type is error


async def test_five_redirects_are_followed_and_a_sixth_is_not(serve, make_client, command) -> None:
    async def count_down(request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        return web.Response(status=307, headers={"Location": f"/{left - 1}"}) if left else web.Response(text="there")

    base, client = await serve({"/{left}": count_down}), make_client()
    followed = await _outcome(client, command(f"{base}/5"))
    assert followed.response.final_url == f"{base}/0" and len(followed.evidence.hops) == 6
    endless = await _outcome(client, command(f"{base}/6"))
    assert endless.error.type is ErrorType.TOO_MANY_REDIRECTS and not endless.is_retryable
    assert len(endless.evidence.hops) == 6


async def test_redirect_body_is_not_read(serve_raw, make_client, command) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/next" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(bytes(65536))
            await writer.drain()

    outcome = await _outcome(make_client(), command((await serve_raw(flood)).url()))
    assert outcome.response.status == 200 and outcome.evidence.wire_bytes == 2


async def test_redirect_status_without_location_is_a_response(serve, make_client, command) -> None:
    async def lost(_request: web.Request) -> web.Response:
        return web.Response(status=302, text="where to?")

    outcome = await _outcome(make_client(), command(await serve({"/": lost})))
    assert outcome.response.status == 302 and outcome.body.size_bytes == 9


async def test_caller_headers_stay_with_the_first_origin(serve, make_client, command) -> None:
    seen: list[Any] = []

    async def remember(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.Response()

    other = await serve({"/": remember}, address="127.0.0.2")

    async def redirect(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.Response(status=302, headers={"Location": "/out" if request.path == "/" else other})

    base = await serve({"/": redirect, "/out": redirect})
    secret = {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Mine": "1", "User-Agent": "caller/1"}
    await _outcome(make_client(), command(base, headers=secret))
    assert [headers.get("Authorization") for headers in seen] == ["Bearer secret", "Bearer secret", None]
    assert not {"Cookie", "X-Mine"} & set(seen[2]) and seen[2]["User-Agent"] == "Fetchwork-test/1"
    assert seen[0]["User-Agent"] == "caller/1"


async def test_headers_that_are_not_a_callers_are_not_sent(serve, make_client, command) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.json_response(sorted(request.headers.items()))

    asked = {
        "host": "internal",
        "Proxy-Authorization": "x",
        "X-Forwarded-For": "1.2.3.4",
        "Metadata-Flavor": "Google",
        "X-aws-ec2-metadata-token": "t",
        "Upgrade": "h2c",
        "Accept-Encoding": "br",
        "traceparent": "00-x",
        "If-None-Match": '"abc"',
    }
    attempted = await perform(command(await serve({"/": echo}), headers=asked), client=make_client())
    sent = dict(json.loads(zstandard.decompress(attempted.body)))
    assert set(sent) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "If-None-Match"}
    assert sent["Accept-Encoding"] == "gzip, deflate, br, zstd" and sent["Host"].startswith("127.0.0.1:")


@pytest.mark.parametrize("headers", [{"X-A": "b\r\nHost: internal"}, {"X-A: b\nHost": "internal"}], ids=["value", "name"])
async def test_no_header_writes_another(headers: dict[str, str], serve_raw, make_client, command) -> None:
    """The contract refuses it first; this is the last wall, and nothing is dialled for it."""
    origin = await serve_raw(_answer)
    asked = command(origin.url())
    asked = asked.model_copy(update={"request": asked.request.model_copy(update={"headers": headers})})
    with pytest.raises(ValueError, match="header"):
        await _outcome(make_client(), asked)
    assert origin.connections == []


async def test_environment_has_no_say(serve, serve_raw, make_client, command, monkeypatch, tmp_path: Path) -> None:
    proxy = await serve_raw(_answer)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url())
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def check(request: web.Request) -> web.Response:
        return web.Response(status=400 if "Authorization" in request.headers else 200)

    outcome = await _outcome(make_client(), command(await serve({"/": check})))
    assert outcome.response.status == 200 and proxy.connections == []


async def test_cookies_are_neither_kept_nor_sent(serve, make_client, command, names, dials) -> None:
    """Of a named host: cookie jars keep none of a bare address anyway."""
    seen = []

    async def cookies(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(status=302 if request.path == "/" else 200, headers={"Set-Cookie": "sid=1", "Location": "/next"})

    base = await serve({"/": cookies, "/next": cookies})
    dials.port, names.answers["www.example.com"] = int(base.rpartition(":")[2]), [[PUBLIC]]
    client = make_client(DEFAULT, lookup=names, open_socket=dials)
    for _ in range(2):
        assert (await _outcome(client, command("http://www.example.com/"))).response.status == 200
    assert seen == [None] * 4


def test_certificates_and_names_are_verified_over_a_modern_tls(tls: ssl.SSLContext) -> None:
    assert tls.minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname
