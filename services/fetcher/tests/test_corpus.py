"""The shared SSRF corpus through the real guard, with a lookup that asks nobody and sockets that lead to one local origin.

Documentation addresses stand for public ones in the corpus (policy `docnet`); here they are written as really public ones,
which nothing dials: every socket is a detour. Stages `response` and `config` are test_responses.py and test_guard.py.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from common.contracts.fetches import FetchRequest
from common.contracts.request_headers import is_denied
from pydantic import ValidationError

from fetcher.egress.addresses import EgressPolicy
from fetcher.perform import perform

STAND_INS = {
    "203.0.113.10": "93.184.216.34",
    "198.51.100.7": "93.184.216.35",
    "2001:db8::": "2606:4700::",
    "2001:DB8:": "2606:4700:",
    "[3fff::1]": "[2606:4700::1]",
}
SECRETS = {"Authorization": "x", "Cookie": "a=b", "X-Mine": "1"}
HARMLESS_REASONS = {"bad_redirect", "rebind"}
"""A 302 that leads nowhere is a result and not a loop; a first good answer is dialled, and only the later bad one is not."""
CORPUS = json.loads((Path(__file__).parent / "ssrf_corpus.json").read_text())


def _cases(*stages: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CORPUS if case["stage"] in stages and case["policy"] != "loopback"]


def _public(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=True)
    for documentation, public in STAND_INS.items():
        text = text.replace(documentation, public)
    return json.loads(text)


async def _play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hops: Any, seen: list[bytes]) -> None:
    seen.append(await reader.readuntil(b"\r\n\r\n"))
    location = _location(hops, number=len(seen))
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n" if location else "HTTP/1.1 200 OK\r\n"
    writer.write(head.encode() + b"Connection: close\r\nContent-Length: 0\r\n\r\n")  # so that every hop dials anew


def _location(hops: Any, *, number: int) -> str | None:
    if hops == "count":
        return f"/{number}"
    if isinstance(hops, str):
        kind, _, where = hops.partition(":")
        return where if kind == "loop" else f"http://{where if number % 2 else 'public.test'}/"
    return hops[number - 1]["location"] if number <= len(hops) else None


@pytest.mark.parametrize("case", _cases("url"))
async def test_url_is_decided_without_lookup_or_dial(case: Any, make_client, command, names, dials) -> None:
    url = _public(case["input"]) if case["policy"] == "docnet" else case["input"]
    client = make_client(EgressPolicy(), lookup=names, open_socket=dials)
    try:
        outcome = (await perform(command(url), client=client)).outcome
    except ValidationError:  # never becomes a command
        outcome = None
    assert outcome is None or outcome.error is not None, case["why"]
    assert (names.asked, dials.opened) == ([], 0)


@pytest.mark.parametrize("case", _cases("resolve", "redirect", "connect"))
async def test_names_and_redirects_are_judged(case: Any, make_client, command, names, dials, serve_raw) -> None:
    fixture, seen = _public(case.get("fixture") or {}), list[bytes]()
    origin = await serve_raw(lambda reader, writer: _play(reader, writer, hops=fixture.get("hops", []), seen=seen))
    names.answers = {name: [[]] if sets == "hang" else sets for name, sets in fixture.get("dns", {}).items()}
    if "dial" not in fixture:
        dials.port, dials.claims = origin.port, fixture.get("peername")
    # Nobody here speaks TLS: an https hop counts as allowed when it was dialled, and is not waited for.
    asked = command(_public(case["input"]), timeout_seconds=0.2 if "https" in str(case) else 5, headers=SECRETS)
    outcome = (await perform(asked, client=make_client(EgressPolicy(), lookup=names, open_socket=dials))).outcome
    hops, expect = outcome.evidence.hops, case.get("expect") or {}
    if case["verdict"] == "allow":
        assert {hop.verdict for hop in hops} == {"public"}, outcome.error
        assert outcome.response is not None or "https" in str(case)
    elif case.get("reason") not in HARMLESS_REASONS:
        assert outcome.error is not None, case["why"]
    assert not {hop.peer for hop in hops} & set(expect.get("never_dial", [])) and len(seen) <= 6
    for header in expect.get("dropped_headers", []):
        assert header.encode() not in seen[-1].lower()


@pytest.mark.parametrize("case", _cases("request"))
def test_request_takes_only_what_is_a_callers_to_set(case: Any) -> None:
    asked: dict[str, Any] = {}
    if case["input"].startswith("METHOD "):
        asked["method"] = case["input"].removeprefix("METHOD ")
    else:
        name, _, value = case["input"].partition(": ")
        asked["headers"] = {name: value}
    try:
        request = FetchRequest(url="http://example.com/", **asked)
        is_taken = not any(is_denied(name) for name in request.headers)
    except ValidationError:
        is_taken = False
    assert is_taken == (case["verdict"] == "allow"), case["why"]
