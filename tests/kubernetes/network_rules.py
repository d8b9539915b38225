"""Who may reach whom: the policies as a set of edges, compared with the only edges that there may be."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, NamedTuple

from common.egress.addresses import IPV4_DENIED, IPV6_DENIED, IPV6_GLOBAL_UNICAST
from common.egress.policies import Network
from kustomize_reader import Manifest, Manifests
from pod_rules import NAME

ANYBODY, ANY_PORT, INTERNET = "anybody", "any port", "the internet"
WORLD = ("0.0.0.0/0", str(IPV6_GLOBAL_UNICAST))
SERVER = "fetchwork/server"
DATA = {"fetchwork/holds-data": "true"}
NAMESPACES = {"fetchwork/scrapes": "monitoring", "fetchwork/calls-gateway": "callers"}
DNS = ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"})


class Edge(NamedTuple):
    """One permission, as one policy grants it."""

    pod: str
    direction: str
    peer: str
    port: str


EDGES = {
    Edge(ANYBODY, "to", "dns", "UDP 53"),
    Edge(ANYBODY, "to", "dns", "TCP 53"),
    Edge("gateway", "from", "callers", "TCP 8080"),
    Edge("gateway", "from", "monitoring", "TCP 9101"),
    Edge("gateway", "to", "store", "TCP 8001"),
    Edge("gateway", "to", "events", "TCP 6379"),
    Edge("fetcher", "from", "monitoring", "TCP 9102"),
    Edge("fetcher", "to", "store", "TCP 8001"),
    Edge("fetcher", "to", "events", "TCP 6379"),
    Edge("fetcher", "to", "broker", "TCP 6379"),
    Edge("fetcher", "to", INTERNET, ANY_PORT),
    Edge("store", "from", "gateway", "TCP 8001"),
    Edge("store", "from", "fetcher", "TCP 8001"),
    Edge("store", "from", "monitoring", "TCP 9103"),
    Edge("store", "to", "events", "TCP 6379"),
    Edge("store", "to", "broker", "TCP 6379"),
    Edge("store", "to", "postgres", "TCP 5432"),
    Edge("migrate", "to", "postgres", "TCP 5432"),
}


def policies(manifests: Manifests) -> Iterator[Manifest]:
    """Every policy's own part."""
    yield from (manifest["spec"] for manifest in manifests.values() if manifest["kind"] == "NetworkPolicy")


def edges_are_exactly_these(manifests: Manifests) -> list[str]:
    """No edge more, none less. What this cannot read is an edge too many."""
    found = {edge for policy in policies(manifests) for edge in _edges(policy)}
    return [*(f"too many: {edge}" for edge in sorted(found - EDGES)), *(f"missing: {edge}" for edge in sorted(EDGES - found))]


def all_is_denied_at_first(manifests: Manifests) -> list[str]:
    """One policy takes everything from every pod in both directions, whatever services there are."""
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return [] if everything in list(policies(manifests)) else ["what no policy names is allowed"]


def internet_is_what_the_guard_allows(manifests: Manifests) -> list[str]:
    """The blocks that fetchers may reach are, range by range, those that the guard does not refuse."""
    found = [block for policy in policies(manifests) for block in _blocks(policy)]
    wanted: dict[str, list[Network]] = {
        WORLD[0]: [network for network, _ in IPV4_DENIED],
        WORLD[1]: [network for network, _ in IPV6_DENIED if network.subnet_of(IPV6_GLOBAL_UNICAST)],
    }
    problems = [f"{cidr} is missing" for cidr in WORLD if cidr not in [block["cidr"] for block in found]]
    for block in found:
        given = {ip_network(text) for text in block.get("except", [])}
        problems += [f"{network} in {block['cidr']} is not refused by both" for network in given ^ set(wanted[block["cidr"]])]
    return problems


NETWORK_RULES = (edges_are_exactly_these, all_is_denied_at_first, internet_is_what_the_guard_allows)


def _edges(policy: Manifest) -> Iterator[Edge]:
    pod = _pod(policy["podSelector"])
    for direction, key in (("Ingress", "from"), ("Egress", "to")):
        rules = policy.get(direction.lower(), []) if direction in policy["policyTypes"] else []
        yield from (Edge(pod, key, peer, port) for rule in rules for peer in _peers(rule, key) for port in _ports(rule))


def _pod(selector: dict[str, Any]) -> str:
    if not selector:
        return ANYBODY
    labels = selector.get("matchLabels", {})
    return str(labels[NAME]) if set(selector) == {"matchLabels"} and set(labels) == {NAME} else f"unknown {selector}"


def _peers(rule: dict[str, Any], key: str) -> list[str]:
    return [_peer(peer) for peer in rule.get(key) or [{}]]


def _peer(peer: dict[str, Any]) -> str:
    if not peer:
        return ANYBODY
    if "ipBlock" in peer:
        return INTERNET if peer["ipBlock"]["cidr"] in WORLD else str(peer["ipBlock"]["cidr"])
    namespace, pod = (peer.get(key, {}).get("matchLabels") for key in ("namespaceSelector", "podSelector"))
    if (namespace, pod) == DNS:
        return "dns"
    if namespace is None and pod and set(pod) == {NAME} and "namespaceSelector" not in peer:
        return str(pod[NAME])
    if namespace == DATA and pod and set(pod) == {SERVER}:
        return str(pod[SERVER])
    names = [name for label, name in NAMESPACES.items() if namespace == {label: "true"}]
    return names[0] if names and "podSelector" not in peer else f"unknown {peer}"


def _ports(rule: dict[str, Any]) -> list[str]:
    ports = rule.get("ports")
    if not ports:
        return [ANY_PORT]
    return [f"{port['protocol']} {port['port']}" if set(port) == {"protocol", "port"} else f"unknown {port}" for port in ports]


def _blocks(policy: Manifest) -> Iterator[dict[str, Any]]:
    for rule in policy.get("egress", []):
        yield from (peer["ipBlock"] for peer in rule.get("to") or [] if _peer(peer) == INTERNET)
