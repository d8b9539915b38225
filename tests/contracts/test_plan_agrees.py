"""What a plan says and what a fetch meets are one: every URL and name of the SSRF corpus through both, with one lookup.

The fetch's sockets are refused before they are opened, so that nothing is sent whatever the guard lets through.
"""

import json
import socket
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from common.contracts.fetches import FetchRequest
from common.egress.lookup import NameLookup
from common.egress.policies import TargetPolicy
from common.urls import read_url
from fetcher.egress.client import EgressClient
from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import ExchangeFailed
from gateway.plans.egress import EgressPlanner
from gateway.plans.models import EgressPlan
from pydantic import ValidationError

CORPUS = Path(__file__).parent.parent.parent / "services/fetcher/tests/ssrf_corpus.json"
STAND_INS = {"203.0.113.10": "93.184.216.34", "198.51.100.7": "93.184.216.35", "2001:db8::": "2606:4700::",
             "2001:DB8:": "2606:4700:", "[3fff::1]": "[2606:4700::1]"}
"""Really public addresses in the place of those that the corpus takes from documentation."""
POLICIES = {
    "default": TargetPolicy(),
    "docnet": TargetPolicy(),
    "loopback": TargetPolicy(unsafe_networks=(ip_network("127.0.0.1/32"),)),
}
UNKNOWN = "unknown"
"""The verdict of a hop whose name had no address."""


def _public(value: Any) -> Any:
    text = json.dumps(value)
    for documentation, public in STAND_INS.items():
        text = text.replace(documentation, public)
    return json.loads(text)


CASES = [case for case in json.loads(CORPUS.read_text(encoding="utf-8")) if case["stage"] in ("url", "resolve")]


class _Names:
    """The first answer that a case has for a name; a lookup that would hang has none."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers

    async def __call__(self, name: str) -> Sequence[str]:
        found = self._answers.get(name, [[]])
        if found == "hang" or not found[0]:
            raise OSError("no address")
        return list(found[0])


def _no_socket(_family: int, _kind: int, _protocol: int) -> socket.socket:
    raise ConnectionRefusedError("nothing is dialled here")


@pytest.fixture(params=CASES, ids=lambda case: case["id"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """One of them, with public addresses where it means such."""
    yield _public(request.param) if request.param["policy"] == "docnet" else request.param


async def _planned(url: str, policy: TargetPolicy, names: _Names) -> EgressPlan:
    lookup = NameLookup(policy, lookup=names)
    [plan] = await EgressPlanner(policy, names=lookup).judge([read_url(url)])
    lookup.close()
    return plan


async def _met(url: str, policy: TargetPolicy, names: _Names) -> str | None:
    """The verdict in the evidence of a fetch; None for a URL that never becomes one."""
    try:
        request = FetchRequest(url=url)
    except ValidationError:
        return None
    client = EgressClient(policy, user_agent="Fetchwork", lookup=names, open_socket=_no_socket)
    log = EvidenceLog()
    try:
        with pytest.raises(ExchangeFailed):
            async with client.exchange(request, log=log):
                raise AssertionError("nothing was dialled, so nothing can have answered")
    finally:
        await client.close()
    return log.hops[-1].verdict.value


async def test_a_plan_says_what_a_fetch_meets(case: Any) -> None:
    url, policy, names = case["input"], POLICIES[case["policy"]], _Names((case.get("fixture") or {}).get("dns", {}))
    plan, met = await _planned(url, policy, names), await _met(url, policy, names)
    expected = {None: {"deny_url", "deny_scheme"}, UNKNOWN: {"unresolved"}}.get(met, {met})
    assert plan.reason in expected, case["why"]
    assert plan.verdict == ("refuse" if plan.reason.startswith("deny_") else "allow")
    if case["verdict"] == "allow":
        assert plan.reason == "public"


def test_there_are_enough_of_them() -> None:
    assert len(CASES) > 300 and {case["verdict"] for case in CASES} == {"allow", "deny"}
