"""The policies grant exactly the edges that there may be, and the internet is what the guard allows."""

import copy
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import network_rules as rules
import pytest
from common.egress.addresses import judge_address
from common.egress.policies import TargetPolicy
from kustomize_reader import Manifests, read_all

Rule = Callable[[Manifests], list[str]]
Break = Callable[[dict[str, Any]], Any]
POLICY = TargetPolicy()


@pytest.fixture(scope="module")
def manifests(kubernetes: Path) -> Manifests:
    """Everything that is applied in production."""
    return read_all(*sorted((kubernetes / "overlays/production").iterdir())).manifests


@pytest.fixture(scope="module")
def blocks(manifests: Manifests) -> list[dict[str, Any]]:
    """What fetchers may reach beside servers and the store."""
    return [peer["ipBlock"] for peer in manifests["NetworkPolicy/fetcher"]["spec"]["egress"][-1]["to"]]


@pytest.mark.parametrize("rule", rules.NETWORK_RULES)
def test_production(manifests: Manifests, rule: Rule) -> None:
    assert rule(manifests) == []


def _rule(number: int, key: str, value: Any) -> Break:
    return lambda spec: spec["egress"][number].update({key: value})


def _open(spec: dict[str, Any]) -> None:
    spec["egress"].append({})


def _closed(spec: dict[str, Any]) -> None:
    spec["egress"].pop()


def _hole(spec: dict[str, Any]) -> None:
    spec["egress"][-1]["to"][0]["ipBlock"]["except"].remove("10.0.0.0/8")


def _wider(spec: dict[str, Any]) -> None:
    spec["egress"][-1]["to"][1]["ipBlock"]["cidr"] = "::/0"


def _twice(spec: dict[str, Any]) -> None:
    spec["egress"].append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})


def _more_refused(spec: dict[str, Any]) -> None:
    spec["egress"][-1]["to"][0]["ipBlock"]["except"].append("8.8.8.0/24")


def _all_pods(spec: dict[str, Any]) -> None:
    spec["podSelector"] = {}


def _some_pods(spec: dict[str, Any]) -> None:
    spec["podSelector"]["matchLabels"]["canary"] = "true"


def _one_way(spec: dict[str, Any]) -> None:
    spec["policyTypes"] = ["Ingress"]


def _any_namespace(spec: dict[str, Any]) -> None:
    spec["ingress"][0]["from"][0]["namespaceSelector"] = {}


def _anybody_scrapes(spec: dict[str, Any]) -> None:
    del spec["ingress"][-1]["from"]


def _any_server(spec: dict[str, Any]) -> None:
    del spec["egress"][-1]["to"][0]["podSelector"]


EXACTLY, DENIED, INTERNET = rules.edges_are_exactly_these, rules.all_is_denied_at_first, rules.internet_is_what_the_guard_allows
BREAKS: list[tuple[Rule, str, Break]] = [
    (EXACTLY, "store", _open),
    (EXACTLY, "store", _closed),
    (EXACTLY, "store", _any_namespace),
    (EXACTLY, "store", _any_server),
    (EXACTLY, "gateway", _anybody_scrapes),
    (EXACTLY, "gateway", _rule(0, "ports", [])),
    (EXACTLY, "gateway", _rule(0, "to", [])),
    (EXACTLY, "store", _rule(0, "ports", [{"protocol": "TCP", "port": 5432, "endPort": 65535}])),
    (EXACTLY, "store", _rule(0, "to", [{"ipBlock": {"cidr": "10.0.0.0/8"}}])),
    (EXACTLY, "store", _one_way),
    (EXACTLY, "fetcher", _some_pods),
    (EXACTLY, "fetcher", _all_pods),
    (EXACTLY, "allow-dns", _rule(0, "ports", [{"protocol": "UDP", "port": 53}])),
    (DENIED, "default-deny", _one_way),
    (DENIED, "default-deny", lambda spec: spec.update(egress=[{}])),
    (INTERNET, "fetcher", _hole),
    (INTERNET, "fetcher", _wider),
    (INTERNET, "fetcher", _more_refused),
    (INTERNET, "fetcher", _twice),
    (INTERNET, "fetcher", _closed),
]


@pytest.mark.parametrize(("rule", "policy", "apply"), BREAKS)
def test_rule_notices(manifests: Manifests, rule: Rule, policy: str, apply: Break) -> None:
    mutant = copy.deepcopy(manifests)
    apply(mutant[f"NetworkPolicy/{policy}"]["spec"])
    assert mutant != manifests
    assert rule(mutant) != []


def test_exceptions_lie_inside_their_blocks(blocks: list[dict[str, Any]]) -> None:
    """Kubernetes refuses a policy in which they do not."""
    for block in blocks:
        whole = ip_network(block["cidr"])
        assert all(ip_network(text) != whole and _is_inside(text, block["cidr"]) for text in block["except"])


def _is_inside(text: str, cidr: str) -> bool:
    inner, outer = ip_network(text), ip_network(cidr)
    return inner.version == outer.version and inner.network_address in outer and inner.broadcast_address in outer


def test_both_walls_agree_at_every_border(blocks: list[dict[str, Any]]) -> None:
    """The first and last address of each range, and their neighbours: the policy allows what the guard allows."""
    asked = {address for block in blocks for text in (block["cidr"], *block["except"]) for address in _around(text)}
    asked |= {ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1")}
    verdicts = {address: judge_address(address, POLICY).is_allowed for address in asked}
    assert {address: _reaches(blocks, address) for address in asked} == verdicts
    assert set(verdicts.values()) == {True, False}


def _around(cidr: str) -> list[IPv4Address | IPv6Address]:
    network = ip_network(cidr)
    first, last, top = int(network.network_address), int(network.broadcast_address), 2**network.max_prefixlen - 1
    kind = IPv4Address if network.version == 4 else IPv6Address
    return [kind(number) for number in (first - 1, first, last, last + 1) if 0 <= number <= top]


def _reaches(blocks: list[dict[str, Any]], address: IPv4Address | IPv6Address) -> bool:
    def holds(text: str) -> bool:
        network = ip_network(text)
        return network.version == address.version and address in network

    return any(holds(block["cidr"]) and not any(map(holds, block["except"])) for block in blocks)


@pytest.mark.parametrize("label", ["fetchwork/holds-data", "fetchwork/scrapes", "fetchwork/calls-gateway", "fetchwork/server"])
def test_operator_is_told_the_labels_that_policies_look_for(manifests: Manifests, kubernetes: Path, label: str) -> None:
    policies = {key: manifest for key, manifest in manifests.items() if manifest["kind"] == "NetworkPolicy"}
    assert label in str(policies)
    assert label in (kubernetes / "README.md").read_text(encoding="utf-8")
