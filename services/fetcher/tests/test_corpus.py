"""The shared SSRF corpus through the real guard, with a lookup that asks nobody and sockets that lead to one local origin.

Documentation addresses stand for public ones in the corpus (policy `docnet`); here they are written as really public ones,
which nothing dials: every socket is a detour, to the origin for those stand-ins and to the canary for any other address.
Stages `response` and `config` are in files of their own; test_corpus_whole.py counts them all.
"""

import asyncio
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from common.contracts.fetches import ErrorType, FetchRequest
from common.contracts.request_headers import is_denied
from common.egress.policies import TargetPolicy
from pydantic import ValidationError

from fetcher.egress.resolver import GuardedResolver
from fetcher.perform import perform

STAND_INS = {
    "203.0.113.10": "93.184.216.34",
    "198.51.100.7": "93.184.216.35",
    "2001:db8::": "2606:4700::",
    "2001:DB8:": "2606:4700:",
    "[3fff::1]": "[2606:4700::1]",
}
EXPECTED = frozenset({"93.184.216.34", "93.184.216.35", "2606:4700::10", "2606:4700::1"})
SECRETS = {"Authorization": "secret", "Cookie": "a=secret", "X-Mine": "secret"}
LOOPBACK = TargetPolicy(unsafe_networks=(ip_network("127.0.0.1/32"),))
REASONS: dict[str, set[ErrorType]] = {
    "special_ip": {ErrorType.REFUSED_ADDRESS},
    "blocked_name": {ErrorType.REFUSED_ADDRESS},
    "rebind": {ErrorType.REFUSED_ADDRESS},
    "peer_mismatch": {ErrorType.REFUSED_ADDRESS},
    "port_not_allowed": {ErrorType.REFUSED_PORT},
    "bad_scheme": {ErrorType.REFUSED_SCHEME, ErrorType.INVALID_URL},  # the latter where there is none at all
    "bad_host": {ErrorType.INVALID_URL},
    "bad_port": {ErrorType.INVALID_URL},
    "bad_char": {ErrorType.INVALID_URL},
    "userinfo": {ErrorType.INVALID_URL},
    "noncanonical_ip": {ErrorType.INVALID_URL},
    "url_too_long": {ErrorType.INVALID_URL},
    "unresolvable": {ErrorType.DNS},
    "dns_timeout": {ErrorType.DNS},
    "too_many_redirects": {ErrorType.TOO_MANY_REDIRECTS},
    "scheme_mismatch": {ErrorType.TLS, ErrorType.CONNECT},
}
"""What the corpus calls a hazard, in the words of our API."""
OURS = {"loopback_allowlist-012": {ErrorType.DNS}}
"""Where our unsafe networks differ from the corpus's policy `loopback`: names may lead into them, so they are looked up."""
DIALLED = {"loopback_allowlist-016"}
"""And they hold for https too: the allowed address is dialled and fails at TLS."""
CORPUS = json.loads((Path(__file__).parent / "ssrf_corpus.json").read_text())


def _cases(*stages: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CORPUS if case["stage"] in stages]


def _public(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=True)
    for documentation, public in STAND_INS.items():
        text = text.replace(documentation, public)
    return json.loads(text)


def _input(case: Any, *, port: int) -> str:
    text: str = _public(case["input"]) if case["policy"] == "docnet" else case["input"]
    return text.replace("{port}", str(port))


def _policy(case: Any) -> TargetPolicy:
    return LOOPBACK if case["policy"] == "loopback" else TargetPolicy()


class _Origin:
    """Answers with the case's redirects in turn, then with 200; notes what it was sent. Closes where TLS is spoken to it."""

    def __init__(self, hops: Any, *, keeps: bool = False) -> None:
        self.hops, self.keeps = hops, keeps
        self.seen: list[bytes] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake record (RFC 8446 section 5.1)
            self.seen.append(first + await reader.read(4096))
            return
        while True:
            self.seen.append(first + await reader.readuntil(b"\r\n\r\n"))
            location = _location(self.hops, number=len(self.seen))
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n" if location else _last_status(self.hops)
            connection = "keep-alive" if self.keeps else "close"  # closed, so that every hop dials anew
            writer.write(f"{head}Connection: {connection}\r\nContent-Length: 0\r\n\r\n".encode())
            if not self.keeps:
                return
            first = b""


def _last_status(hops: Any) -> str:
    has_no_location = isinstance(hops, list) and hops and hops[-1]["location"] is None
    return "HTTP/1.1 302 Found\r\n" if has_no_location else "HTTP/1.1 200 OK\r\n"


def _location(hops: Any, *, number: int) -> str | None:
    if hops == "count":
        return f"/{number}"
    if isinstance(hops, str):
        kind, _, where = hops.partition(":")
        return where if kind == "loop" else f"http://{where if number % 2 else 'public.test'}/"
    return hops[number - 1]["location"] if number <= len(hops) else None


def _assert_denied(outcome: Any, case: Any) -> None:
    assert outcome.error is not None, case["why"]
    assert outcome.error.type in OURS.get(case["id"], REASONS[case["reason"]]), case["why"]
    assert outcome.response is None and outcome.body is None
    assert not any(secret in outcome.error.detail for secret in ("10.0.0.5", "127.0.0.1", "169.254"))


@pytest.fixture(autouse=True)
def impatient_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus has a lookup that hangs; its limit is proved elsewhere, here it is short."""
    defaults = GuardedResolver.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout_seconds", 0.1)


@pytest.mark.parametrize("case", _cases("url"))
async def test_url_is_decided_without_lookup_or_dial(case: Any, make_client, command, names, dials, corpus) -> None:
    dials.canary = corpus.canary.port
    client = make_client(_policy(case), lookup=names, open_socket=dials)
    try:
        asked = command(_input(case, port=corpus.canary.port), timeout_seconds=1)
    except ValidationError:  # never becomes a command
        assert case["reason"] in ("url_too_long", "bad_char", "bad_scheme")
    else:
        if case["id"] in DIALLED:
            dials.expected, dials.port = frozenset({"127.0.0.1"}), await _mute_port()
        _assert_denied((await perform(asked, client=client)).outcome, case)
    if case["id"] not in OURS:
        assert names.asked == []
    assert dials.opened == (case["id"] in DIALLED)
    assert corpus.canary.look() == 0
    corpus.played.add(case["id"])


async def _mute_port() -> int:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("case", _cases("resolve", "redirect", "connect"))
async def test_names_dials_and_redirects_are_judged(
    case: Any, make_client, command, names, dials, serve_raw, corpus
) -> None:
    fixture, expect = _public(case.get("fixture") or {}), _public(case.get("expect") or {})
    origin = _Origin(fixture.get("hops", []))
    listener = await serve_raw(origin.play)
    names.answers = fixture.get("dns", {})
    dials.port, dials.claims, dials.canary = listener.port, fixture.get("peername"), corpus.canary.port
    dials.expected = frozenset({"127.0.0.1"}) if case["policy"] == "loopback" else EXPECTED
    if "dial" in fixture:
        dials.port = None
    client = make_client(_policy(case), lookup=names, open_socket=dials)
    asked = command(_input(case, port=listener.port), timeout_seconds=5, headers=SECRETS)
    outcome = (await perform(asked, client=client)).outcome
    if case["reason" if "reason" in case else "stage"] == "rebind":
        assert (outcome.error.type if "dial" in fixture else outcome.response.status) in (ErrorType.CONNECT, 200)
        dials.port = listener.port
        outcome = (await perform(asked, client=client)).outcome  # the next attempt looks up, and judges, again
        assert names.asked == [asked.request.url.split("/")[2]] * 2
    if case["verdict"] == "allow":
        _assert_allowed(outcome, origin=origin, expect=expect, dials=dials)
    elif case["reason"] == "bad_redirect":  # returned as the result; what matters is that nothing loops
        assert outcome.response.status == 302 and len(origin.seen) == 1
    else:
        _assert_denied(outcome, case)
    assert not {address for address, _ in dials.asked} & set(expect.get("never_dial", []))
    assert len(origin.seen) <= 6 and corpus.canary.look() == 0
    corpus.played.add(case["id"])


def _assert_allowed(outcome: Any, *, origin: _Origin, expect: Any, dials: Any) -> None:
    assert {hop.verdict for hop in outcome.evidence.hops} <= {"public", "unsafe_network"}, outcome.error
    if origin.seen[-1].startswith(b"\x16"):  # nobody here speaks TLS: that it was dialled, and asked for by name, is the proof
        assert outcome.error.type in (ErrorType.TLS, ErrorType.CONNECT) and b"public.test" in origin.seen[-1]
        assert expect.get("sni", "public.test") == "public.test"
    else:
        assert outcome.response.status == 200
    if "dial" in expect:
        assert dials.asked == [tuple(expect["dial"])]
    if "host_header" in expect:
        assert f"\r\nHost: {expect['host_header']}\r\n".encode() in origin.seen[0]
    assert not any(head.startswith(b"GET") and b"#" in head.split(b"\r\n")[0] for head in origin.seen)
    if "dropped_headers" in expect:
        assert b"secret" in origin.seen[0] and b"secret" not in origin.seen[-1]
        assert not any(header.encode() in origin.seen[-1].lower() for header in expect["dropped_headers"])


async def test_kept_connection_stays_with_the_address_that_was_judged(
    make_client, command, names, dials, serve_raw, corpus
) -> None:
    """Case dns_rebinding-004 over a connection that is kept: it is used again, or its name is judged anew."""
    origin = _Origin([], keeps=True)
    listener = await serve_raw(origin.play)
    names.answers = {"pool.test": [["93.184.216.34"], ["127.0.0.1"]]}
    dials.port, dials.canary, dials.expected = listener.port, corpus.canary.port, EXPECTED
    client = make_client(TargetPolicy(), lookup=names, open_socket=dials)
    outcomes = [(await perform(command("http://pool.test/"), client=client)).outcome for _ in range(2)]
    assert [outcome.evidence.hops[0].is_reused for outcome in outcomes] == [False, True]
    assert {outcome.evidence.hops[0].peer for outcome in outcomes} == {"93.184.216.34"} and len(names.asked) == 1
    changed = (await perform(command("https://pool.test/"), client=client)).outcome
    assert changed.error.type is ErrorType.REFUSED_ADDRESS and corpus.canary.look() == 0


INAPPLICABLE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Refused by the corpus, offered by our API on purpose (security.md section 1.4): asserted as allowed."""


@pytest.mark.parametrize("case", _cases("request"))
def test_request_takes_only_what_is_a_callers_to_set(case: Any, corpus) -> None:
    asked: dict[str, Any] = {}
    method = case["input"].removeprefix("METHOD ") if case["input"].startswith("METHOD ") else None
    if method is not None:
        asked["method"] = method
    else:
        name, _, value = case["input"].partition(": ")
        asked["headers"] = {name: value}
    try:
        request = FetchRequest(url="http://example.com/", **asked)
        is_taken = not any(is_denied(name) for name in request.headers)
    except ValidationError:
        is_taken = False
    assert is_taken == (case["verdict"] == "allow" or method in INAPPLICABLE_METHODS), case["why"]
    corpus.played.add(case["id"])
