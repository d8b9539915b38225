"""Stage `config` of the shared SSRF corpus: the environment has no say, and there is no second channel around the guard."""

import json
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import ErrorType, FetchRequest
from common.contracts.request_headers import is_denied
from common.egress.policies import CallbackPolicy, TargetPolicy
from pydantic import ValidationError

from fetcher.egress.dial import verifying_tls
from fetcher.perform import perform

CASES = [
    case for case in json.loads((Path(__file__).parent / "ssrf_corpus.json").read_text()) if case["stage"] == "config"
]
ENVIRONMENT = [pytest.param(case, id=case["id"]) for case in CASES if case["class"] == "environment"]
CHANNELS = [pytest.param(case, id=case["id"]) for case in CASES if case["class"] == "second_channel"]


async def _perform(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


@pytest.mark.parametrize("case", ENVIRONMENT)
async def test_environment_is_ignored(
    case: Any, serve, serve_raw, make_client, command, names, dials, corpus, monkeypatch, tmp_path, server_tls, certificate
) -> None:
    """The variable of the case, with what it names made real: a proxy is the canary, files exist and hold what would help."""
    variable, _, value = case["input"].partition("=")
    (tmp_path / "netrc").write_text("default login me password secret\n")
    (tmp_path / "aliases").write_text("www.example.com localhost\nredis localhost\n")
    files = {"/tmp/netrc": tmp_path / "netrc", "/tmp/aliases": tmp_path / "aliases", "/tmp/evil.pem": certificate}
    value = str(files.get(value, value)).replace(":3128", f":{corpus.canary.port}").replace(":1080", f":{corpus.canary.port}")
    assert value != case["input"].partition("=")[2] or variable == "RES_OPTIONS"
    monkeypatch.setenv(variable, value)
    asked_for = []

    def lookup_of_nobody(host: str, *_: Any, **__: Any) -> Any:
        asked_for.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "nobody is asked")

    async def check(request: web.Request) -> web.Response:
        return web.Response(status=400 if "Authorization" in request.headers else 200)

    plain, behind_tls = await serve({"/": check}), await serve({"/": check}, tls=server_tls)
    client = make_client(tls=verifying_tls())
    assert (await _perform(client, command(plain))).response.status == 200
    assert (await _perform(client, command(behind_tls))).error.type is ErrorType.TLS, "nobody vouches for that certificate"
    # What our own lookup asks for is the question here; with the system's behind it, a packet would leave this machine.
    monkeypatch.setattr(socket, "getaddrinfo", lookup_of_nobody)
    outcome = await _perform(make_client(TargetPolicy(), open_socket=dials, lookup=None), command("http://www.example.com/"))
    assert outcome.error.type is ErrorType.DNS
    assert asked_for == ["www.example.com."], "an absolute name, which neither search lists nor aliases change"
    assert dials.opened == 0 and corpus.canary.look() == 0
    corpus.played.add(case["id"])


CHANNEL_URLS = {
    "callback_url": CallbackPolicy(),
    "sitemap": TargetPolicy(),
    "favicon": TargetPolicy(),
    "screenshot": TargetPolicy(),
}
"""Whatever a URL is for, it goes through the one client, with the policy of its purpose."""


@pytest.mark.parametrize("case", CHANNELS)
async def test_no_second_channel_leads_around_the_guard(case: Any, make_client, command, names, dials, corpus) -> None:
    kind, _, url = case["input"].replace("=", " ", 1).partition(" ")
    if kind == "proxy_url":
        with pytest.raises(ValidationError):
            FetchRequest.model_validate({"url": "http://www.example.com/", kind: url}, extra="forbid")
        assert not hasattr(FetchRequest(url="http://www.example.com/"), kind) and is_denied("Proxy-Authorization")
    else:
        dials.canary = corpus.canary.port
        client = make_client(CHANNEL_URLS[kind], lookup=names, open_socket=dials)
        outcome = await _perform(client, command(url))
        assert outcome.error.type is ErrorType.REFUSED_ADDRESS and names.asked == [] and dials.opened == 0
    assert corpus.canary.look() == 0
    corpus.played.add(case["id"])


TO_THE_STORE = ("ledger_clock.py", "report.py", "politeness/robots_store.py")
"""These hold a session too, for our own store, whose address is a setting."""


def test_one_module_opens_connections_to_remote_hosts() -> None:
    """A grep, on purpose: another way out would be a second channel."""
    package = Path(__file__).parent.parent / "fetcher"
    ways_out = ("TCPConnector", "ClientSession", "create_connection(", "sock_connect(", "open_connection(", "socket.socket(")
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if any(way in file.read_text() for way in ways_out)
    }
    assert found <= {*("egress/dial.py", "egress/kept.py", "egress/proxy.py"), *TO_THE_STORE}, found


async def test_a_guard_that_lets_everything_through_wakes_the_canary(make_client, command, dials, corpus) -> None:
    """The negative control of every zero above: the same client and sockets, with a policy that allows all."""
    before = corpus.canary.look()
    everything = TargetPolicy(unsafe_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    dials.canary = corpus.canary.port
    client = make_client(everything, open_socket=dials)
    for url in ("http://127.0.0.1/", "http://169.254.169.254/", "http://[::1]/"):
        await _perform(client, command(url, timeout_seconds=0.1))
    assert corpus.canary.look() == before + 3
    corpus.canary.count = before
