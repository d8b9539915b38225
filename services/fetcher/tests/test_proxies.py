"""An outgoing proxy: asked only for addresses that we judged, itself judged by its own policy, chosen by our setting alone."""

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType
from common.egress.policies import CallbackPolicy, EgressPolicy, ProxyPolicy, TargetPolicy

from fetcher.egress.budgets import Budgets
from fetcher.egress.dial import guarded_connector, verifying_tls
from fetcher.egress.kept import Keeping
from fetcher.egress.proxy import REPLY_LIMIT_BYTES, Proxy, read_proxy
from fetcher.egress.resolver import GuardedResolver
from fetcher.perform import perform

PUBLIC, PUBLIC6 = "93.184.216.34", "2606:4700::1"
LOOPBACK_PROXIES = ProxyPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))


@dataclass
class ProxyOrigin:
    """A real CONNECT proxy on loopback. Whatever it is asked for, it connects to one local port, or answers `reply`."""

    port: int = 0
    upstream: int = 0
    reply: bytes | None = None
    refuses: set[str] = field(default_factory=set)
    heads: list[str] = field(default_factory=list)

    def url(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        reply = b"HTTP/1.1 502 Bad Gateway\r\n\r\n" if self.asked[-1] in self.refuses else self.reply
        if reply is not None:
            writer.write(reply)
            await writer.drain()
            await reader.read()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        await asyncio.gather(_pipe(reader, up_writer), _pipe(up_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def proxy(serve_raw, serve) -> ProxyOrigin:
    """A proxy in front of an origin that says `hello`."""
    made = ProxyOrigin()
    made.port = (await serve_raw(made.play)).port
    made.upstream = int((await serve({"/": _hello})).rpartition(":")[2])
    return made


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text=f"hello {request.host}", content_type="text/plain")


async def _outcome(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


def _through(url: str, policy: ProxyPolicy = LOOPBACK_PROXIES) -> Proxy:
    return read_proxy(url, policy=policy)


async def test_proxy_is_asked_for_the_judged_address_and_the_host_gets_its_name(proxy, make_client, command, names) -> None:
    names.answers["www.example.com"] = [[PUBLIC]]
    client = make_client(TargetPolicy(), lookup=names, proxy=_through(proxy.url()))
    attempted = await perform(command("http://www.example.com/"), client=client)
    assert attempted.outcome.response.status == 200, attempted.outcome.error
    assert proxy.asked == [f"{PUBLIC}:80"] and "example" not in proxy.heads[0]
    hop = attempted.outcome.evidence.hops[0]
    assert hop.via_proxy and hop.verdict == "public" and hop.addresses == (PUBLIC,) and hop.peer == "127.0.0.1"


async def test_kept_tunnel_is_used_again_for_the_same_host_only(proxy, make_client, command, names) -> None:
    names.answers = {"www.example.com": [[PUBLIC]], "other.example.com": [[PUBLIC]]}
    client = make_client(TargetPolicy(), lookup=names, proxy=_through(proxy.url()))
    hops = []
    for host in ("www", "www", "other"):
        hops += (await _outcome(client, command(f"http://{host}.example.com/"))).evidence.hops
    assert [hop.is_reused for hop in hops] == [False, True, False]
    assert {hop.verdict for hop in hops} == {"public"} and all(hop.via_proxy for hop in hops)
    assert len(proxy.heads) == 2


async def test_literal_of_version_six_is_asked_for_in_brackets(proxy, make_client, command) -> None:
    client = make_client(TargetPolicy(), proxy=_through(proxy.url()))
    assert (await _outcome(client, command(f"http://[{PUBLIC6}]/"))).response.status == 200
    assert proxy.asked == [f"[{PUBLIC6}]:80"] and f"\r\nHost: [{PUBLIC6}]:80\r\n" in proxy.heads[0]


async def test_credentials_go_to_the_proxy_and_to_nobody_else(proxy, serve, make_client, command) -> None:
    seen = []

    async def origin(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response()

    proxy.upstream = int((await serve({"/": origin})).rpartition(":")[2])
    client = make_client(TargetPolicy(), proxy=_through(proxy.url("user:p%40ss@")))
    await _outcome(client, command(f"http://{PUBLIC}/"))
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:p@ss').decode()}\r\n" in proxy.heads[0]
    assert len(seen) == 1 and "Proxy-Authorization" not in seen[0] and "Authorization" not in seen[0]


@pytest.mark.parametrize(
    "host", ["127.66.0.1", "[::1]", "169.254.169.254", "localhost", "private.example.com", "half.example.com"]
)
async def test_refused_target_is_not_even_named_to_the_proxy(host: str, proxy, make_client, command, names) -> None:
    names.answers = {"private.example.com": [["10.0.0.5"]], "half.example.com": [[PUBLIC, "10.0.0.5"]]}
    client = make_client(TargetPolicy(), lookup=names, proxy=_through(proxy.url()))
    outcome = await _outcome(client, command(f"http://{host}/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS and outcome.evidence.hops[0].verdict.startswith("deny_")
    assert proxy.heads == []


async def test_tunnel_itself_judges_what_it_is_asked_for(proxy, make_client, command, monkeypatch) -> None:
    """Even if nothing before it did: the last wall stands in front of the proxy too."""
    # The wall before it is taken away; what listens behind the tunnel, if that were dug, is the recording proxy on loopback.
    monkeypatch.setattr("fetcher.egress.client.judge_unasked", lambda *_, **__: None)
    client = make_client(TargetPolicy(), proxy=_through(proxy.url()))
    outcome = await _outcome(client, command("http://127.66.0.1/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS and proxy.heads == []


async def test_redirect_through_the_proxy_is_judged_again(proxy, serve, make_client, command) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://10.0.0.5/"})

    proxy.upstream = int((await serve({"/": redirect})).rpartition(":")[2])
    outcome = await _outcome(make_client(TargetPolicy(), proxy=_through(proxy.url())), command(f"http://{PUBLIC}/"))
    assert outcome.error.type is ErrorType.REFUSED_ADDRESS and proxy.asked == [f"{PUBLIC}:80"]


async def test_next_address_is_asked_for_when_the_proxy_refuses_one(proxy, make_client, command, names) -> None:
    names.answers["www.example.com"] = [[PUBLIC, "93.184.216.35"]]
    proxy.refuses = {f"{PUBLIC}:80"}
    outcome = await _outcome(
        make_client(TargetPolicy(), lookup=names, proxy=_through(proxy.url())), command("http://www.example.com/")
    )
    assert outcome.response.status == 200 and proxy.asked == [f"{PUBLIC}:80", "93.184.216.35:80"]
    assert names.asked == ["www.example.com"]


async def test_tls_inside_the_tunnel_is_with_the_hosts_name(proxy, serve, make_client, command, server_tls, certificate) -> None:
    proxy.upstream = int((await serve({"/": _hello}, tls=server_tls)).rpartition(":")[2])
    policy = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))
    trusting = ssl.create_default_context(cafile=str(certificate))
    client = make_client(policy, proxy=_through(proxy.url()), tls=trusting)
    good = await _outcome(client, command("https://127.0.0.1:8443/"))
    assert good.response.status == 200 and good.evidence.tls_version in ("TLSv1.2", "TLSv1.3")
    assert proxy.asked == ["127.0.0.1:8443"]
    assert (await _outcome(client, command("https://127.0.0.2:8443/"))).error.type is ErrorType.TLS
    distrusting = make_client(policy, proxy=_through(proxy.url()))
    assert (await _outcome(distrusting, command("https://127.0.0.1:8443/"))).error.type is ErrorType.TLS


REPLIES = {
    "forbidden": b"HTTP/1.1 403 secret-squid says no to 10.1.2.3\r\n\r\n",
    "wants credentials": b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
    "redirects": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
    "no http": b"SSH-2.0-secret-squid\r\n\r\n",
    "nothing": b"",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * REPLY_LIMIT_BYTES + b"\r\n\r\n",
    "more than a head": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "informational": b"HTTP/1.1 100 Continue\r\n\r\n",
    "status that only begins well": b"HTTP/1.1 2000 OK\r\n\r\n",
}


@pytest.mark.parametrize("kind", REPLIES)
async def test_proxy_that_does_not_connect_us_is_a_connect_error_without_its_words(
    kind: str, serve_raw, make_client, command
) -> None:
    made = ProxyOrigin(reply=REPLIES[kind])

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if REPLIES[kind]:
            await made.play(reader, writer)

    made.port = (await serve_raw(play)).port
    asked = command(f"http://{PUBLIC}/", timeout_seconds=2)
    outcome = await _outcome(make_client(TargetPolicy(), proxy=_through(made.url())), asked)
    assert outcome.error.type is ErrorType.CONNECT and outcome.is_retryable and outcome.response is None
    assert not any(word in outcome.error.detail for word in ("127", "squid", "10.1", "407", "403"))


async def test_silent_proxy_is_given_up_within_one_connect_budget_over_all_addresses(
    serve_raw, make_client, command, names
) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    origin = await serve_raw(silent)
    names.answers["www.example.com"] = [[f"93.184.216.{number}" for number in range(30, 38)]]
    client = make_client(
        TargetPolicy(), lookup=names, proxy=_through(origin.url()[:-1]), budgets=Budgets(connect_seconds=0.2)
    )
    outcome = await asyncio.wait_for(_outcome(client, command("http://www.example.com/")), 1.2)
    assert outcome.error.type is ErrorType.CONNECT and outcome.evidence.exceeded == "connect"
    assert len(origin.connections) == 1


async def test_proxy_that_is_not_there_is_a_connect_error(serve_raw, make_client, command) -> None:
    origin = await serve_raw(_ignore)
    nobody = f"http://127.77.0.1:{origin.port}"
    outcome = await _outcome(make_client(TargetPolicy(), proxy=_through(nobody)), command(f"http://{PUBLIC}/"))
    assert outcome.error.type is ErrorType.CONNECT and "127" not in outcome.error.detail


async def _ignore(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return None


@pytest.mark.parametrize(
    ("place", "answers"),
    [
        ("127.0.0.1", []),
        ("[::1]", []),
        ("[::ffff:127.0.0.1]", []),
        ("169.254.169.254", []),
        ("localhost", [["127.0.0.1"]]),
        ("proxy.example.com", [["127.0.0.1"]]),
        ("proxy.example.com", [[PUBLIC, "127.0.0.1"]]),
        ("proxy.example.com", [[]]),
    ],
)
async def test_proxy_where_its_policy_allows_none_is_not_dialled(
    place: str, answers: Any, proxy, make_client, command, names, dials
) -> None:
    """The exemptions of targets do not count for proxies."""
    names.answers[place] = answers
    targets = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"), ip_network("::/0")))
    setting = read_proxy(f"http://{place}:{proxy.port}", policy=ProxyPolicy())
    dials.port = proxy.port
    client = make_client(targets, lookup=names, open_socket=dials, proxy=setting)
    outcome = await _outcome(client, command(f"http://{PUBLIC}:80/"))
    assert outcome.error.type is ErrorType.CONNECT, outcome
    assert dials.opened == 0 and proxy.heads == [] and outcome.evidence.hops[0].peer is None
    assert names.asked == ([place] if place == "proxy.example.com" else []), "a private name needs no lookup"


async def test_proxy_is_looked_up_once_for_each_connection(proxy, make_client, command, names, dials) -> None:
    names.answers["proxy.example.com"] = [[PUBLIC], ["127.0.0.1"]]
    dials.port = proxy.port
    setting = read_proxy("http://proxy.example.com:3128", policy=ProxyPolicy())
    client = make_client(TargetPolicy(), lookup=names, open_socket=dials, proxy=setting)
    first = await _outcome(client, command("http://93.184.216.40/"))
    assert first.response.status == 200 and first.evidence.hops[0].peer == PUBLIC
    kept = await _outcome(client, command("http://93.184.216.40/"))
    assert kept.evidence.hops[0].is_reused and names.asked == ["proxy.example.com"]
    moved = await _outcome(client, command("http://93.184.216.41/"))
    assert moved.error.type is ErrorType.CONNECT and names.asked == ["proxy.example.com"] * 2 and dials.opened == 1


async def test_peer_that_is_not_the_proxy_that_was_dialled_gets_no_request(proxy, make_client, command, dials, serve) -> None:
    seen = []

    async def origin(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    proxy.upstream = int((await serve({"/": origin})).rpartition(":")[2])
    dials.port, dials.claims = proxy.port, "93.184.216.99"
    setting = read_proxy(f"http://{PUBLIC}:3128", policy=ProxyPolicy())
    outcome = await _outcome(make_client(TargetPolicy(), open_socket=dials, proxy=setting), command("http://93.184.216.40/"))
    assert outcome.error.type is ErrorType.CONNECT and seen == []


PROXY_VARIABLES = "HTTP_PROXY HTTPS_PROXY ALL_PROXY FTP_PROXY SOCKS_PROXY".split()


@pytest.mark.parametrize("has_proxy", [False, True])
async def test_environment_proxies_never_count(
    has_proxy: bool, proxy, serve, serve_raw, make_client, command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorder = await serve_raw(_ignore)
    for name in PROXY_VARIABLES:
        for variable in (name, name.lower()):
            monkeypatch.setenv(variable, recorder.url())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,*" if has_proxy else "")
    monkeypatch.setenv("no_proxy", "127.0.0.1,*" if has_proxy else "")
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []

    async def origin(request: web.Request) -> web.Response:
        seen.append("Authorization" in request.headers)
        return web.Response()

    base = await serve({"/": origin})
    proxy.upstream = int(base.rpartition(":")[2])
    client = make_client(proxy=_through(proxy.url()) if has_proxy else None)
    assert (await _outcome(client, command(base))).response.status == 200
    assert seen == [False] and recorder.connections == [] and len(proxy.heads) == has_proxy


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy.example.com:3128",
        "https://proxy.example.com",
        "socks5h://proxy.example.com",
        "http://user@proxy.example.com",
        "http://a:b@c:d@proxy.example.com",
        "http://proxy.example.com/x",
        "http://proxy.example.com?x",
        "http://0x7f.1:3128",
        "http://proxy.example.com:0",
        "http://a:b%0d%0aX@proxy.example.com",
        "http://a:b@proxy.example.com\r\n",
    ],
)
def test_anything_but_an_http_proxy_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        read_proxy(url, policy=ProxyPolicy())
    assert "a:b" not in str(refusal.value)


def test_a_policy_is_of_one_kind() -> None:
    assert TargetPolicy() != CallbackPolicy()
    with pytest.raises(TypeError):
        EgressPolicy()


@pytest.mark.parametrize("wrong", ["policy", "proxy"])
async def test_a_policy_of_another_kind_is_not_taken(wrong: str, names) -> None:
    def connect(policy: Any, proxy_policy: Any) -> Any:
        return guarded_connector(
            policy,
            resolver=GuardedResolver(TargetPolicy(), lookup=names),
            open_socket=lambda *_: pytest.fail("nothing is opened"),
            tls=verifying_tls(),
            budgets=Budgets(connect_seconds=1),
            keeping=Keeping(),
            proxy=Proxy(name="proxy.example.com", port=1, policy=proxy_policy),
        )

    await connect(CallbackPolicy(), ProxyPolicy()).close()
    with pytest.raises(TypeError):
        connect(ProxyPolicy() if wrong == "policy" else TargetPolicy(), TargetPolicy() if wrong == "proxy" else ProxyPolicy())
    with pytest.raises(TypeError):
        connect(None, ProxyPolicy())
