"""Which addresses, names and ports may be dialled: every range with both edges and both neighbours."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from common.egress.addresses import (
    IPV4_DENIED,
    IPV6_DENIED,
    METADATA_NAMES,
    PRIVATE_SUFFIXES,
    AddressVerdict,
    is_private_name,
    judge_address,
    judge_before_lookup,
    judge_dial,
)
from common.egress.policies import ProxyPolicy, TargetPolicy
from hypothesis import given
from hypothesis import strategies as st

DEFAULT = TargetPolicy()
LOOPBACK = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))

# network, the neighbour below, the neighbour above; None where that one is refused for a reason of its own
V4_RANGES = [
    ("0.0.0.0/8", None, "1.0.0.0"),
    ("10.0.0.0/8", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0/10", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0/8", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16/32", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0/16", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0/12", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0/24", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0/24", "192.0.1.255", "192.0.3.0"),
    ("192.31.196.0/24", "192.31.195.255", "192.31.197.0"),
    ("192.52.193.0/24", "192.52.192.255", "192.52.194.0"),
    ("192.88.99.0/24", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0/16", "192.167.255.255", "192.169.0.0"),
    ("192.175.48.0/24", "192.175.47.255", "192.175.49.0"),
    ("198.18.0.0/15", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0/24", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0/24", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0/4", "223.255.255.255", None),
    ("240.0.0.0/4", None, None),
]
V6_RANGES = [
    ("2001::/23", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
    ("2001:db8::/32", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
    ("2002::/16", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
    ("2620:4f:8000::/48", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"),
    ("3fff::/20", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
]
OTHER_V6_RANGES = [
    ("::/128", None, None),
    ("::1/128", None, None),
    ("::/96", None, None),
    ("::ffff:0:0/96", None, None),
    ("::ffff:0:0:0/96", None, None),
    ("64:ff9b::/96", None, None),
    ("64:ff9b:1::/48", None, None),
    ("fc00::/7", None, None),
    ("fe80::/10", None, None),
    ("ff00::/8", None, None),
]
REASONS = {
    "0.0.0.0/8 ::/128": AddressVerdict.DENY_UNSPECIFIED,
    "127.0.0.0/8 ::1/128": AddressVerdict.DENY_LOOPBACK,
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7": AddressVerdict.DENY_PRIVATE,
    "100.64.0.0/10": AddressVerdict.DENY_SHARED,
    "169.254.0.0/16 fe80::/10": AddressVerdict.DENY_LINK_LOCAL,
    "192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 198.18.0.0/15 2001::/23 2620:4f:8000::/48": (
        AddressVerdict.DENY_SPECIAL
    ),
    "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20": AddressVerdict.DENY_DOCUMENTATION,
    "224.0.0.0/4 ff00::/8": AddressVerdict.DENY_MULTICAST,
    "240.0.0.0/4": AddressVerdict.DENY_RESERVED,
    "168.63.129.16/32": AddressVerdict.DENY_PLATFORM,
    "192.88.99.0/24 2002::/16 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48": AddressVerdict.DENY_EMBEDS_IPV4,
}
REASON_OF = {network: verdict for networks, verdict in REASONS.items() for network in networks.split()}
NOT_GLOBAL_UNICAST = (
    ":: ::1 ::7f00:1 ::ffff:7f00:1 ::ffff:0:7f00:1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 100::1 "
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 4000:: 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1"
).split()
SUFFIXES = (
    "localhost localdomain local internal corp lan home intranet private arpa svc onion i2p invalid alt"
).split()
METADATA = "metadata.goog metadata.tencentyun.com metadata.platformequinix.com metadata.cloud.ibm.com".split()
PRIVATE_NAMES = (
    "localhost redis ip6-localhost instance-data metadata.google.internal instance-data.ec2.internal host.containers.internal "
    "kubernetes.default.svc kubernetes.default.svc.cluster.local api.metadata.cloud.ibm.com 1.0.0.127.in-addr.arpa "
    "8.b.d.0.1.0.0.2.ip6.arpa localhost.localdomain"
).split()
PUBLIC_NAMES = (
    "example.com localhost.example.com internal.example.com mylocalhost.test notmetadata.goog metadata.goog.example.com "
    "local.example home.arpa.example xlocal.com cloud.ibm.com tencentyun.com"
).split()


@pytest.mark.parametrize(("network", "below", "above"), V4_RANGES + V6_RANGES + OTHER_V6_RANGES)
def test_edges_of_a_range_are_refused_and_its_neighbours_are_not(network: str, below: str | None, above: str | None) -> None:
    inside = ip_network(network)
    if network != "::/96":  # its first two addresses are :: and ::1, which say so
        assert judge_address(inside[0], DEFAULT) is REASON_OF[network]
    assert judge_address(inside[-1], DEFAULT) is REASON_OF[network]
    for neighbour in filter(None, (below, above)):
        assert judge_address(ip_address(neighbour), DEFAULT) is AddressVerdict.PUBLIC


def test_every_listed_range_has_a_row_here_with_its_reason() -> None:
    assert {(str(network), verdict) for network, verdict in (*IPV4_DENIED, *IPV6_DENIED)} == set(REASON_OF.items())
    assert {row[0] for row in V4_RANGES + V6_RANGES + OTHER_V6_RANGES} == set(REASON_OF)


@pytest.mark.parametrize("network", sorted(REASON_OF))
def test_both_neighbours_of_every_edge_are_judged_by_their_own_range(network: str) -> None:
    """One step outside a range the verdict is what the other ranges say, and never this range's by accident."""
    inside = ip_network(network)
    listed = [(ip_network(other), verdict) for other, verdict in REASON_OF.items()]
    for number in (int(inside[0]) - 1, int(inside[-1]) + 1):
        if not 0 <= number < 2**inside.max_prefixlen:
            continue
        neighbour = type(inside[0])(number)
        expected = {verdict for other, verdict in listed if other.version == inside.version and neighbour in other}
        if not expected and inside.version == 6 and neighbour not in ip_network("2000::/3"):
            expected = {AddressVerdict.DENY_NOT_UNICAST}
        assert judge_address(neighbour, DEFAULT) in (expected or {AddressVerdict.PUBLIC})


def test_edges_of_global_unicast() -> None:
    assert judge_address(ip_address("2000::"), DEFAULT) is AddressVerdict.PUBLIC
    assert judge_address(ip_address("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), DEFAULT) is AddressVerdict.PUBLIC
    assert judge_address(ip_address("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), DEFAULT) is AddressVerdict.DENY_NOT_UNICAST
    assert judge_address(ip_address("4000::"), DEFAULT) is AddressVerdict.DENY_NOT_UNICAST


@pytest.mark.parametrize("text", NOT_GLOBAL_UNICAST)
def test_ipv6_outside_global_unicast_is_refused(text: str) -> None:
    assert judge_address(ip_address(text), DEFAULT).is_denial


def test_address_with_a_zone_is_refused_even_inside_an_unsafe_network() -> None:
    assert judge_address(ip_address("2606:4700::1%1"), DEFAULT) is AddressVerdict.DENY_NOT_UNICAST
    local = TargetPolicy(unsafe_networks=(ip_network("fe80::/10"),))
    assert judge_address(ip_address("fe80::1%1"), local) is AddressVerdict.DENY_NOT_UNICAST
    assert judge_address(ip_address("fe80::1"), local) is AddressVerdict.UNSAFE_NETWORK


def test_without_a_policy_nothing_is_allowed() -> None:
    for text in ("93.184.216.34", "127.0.0.1", "2606:4700::1"):
        assert judge_address(ip_address(text), None) is AddressVerdict.DENY_NO_POLICY
        assert judge_dial(ip_address(text), 443, policy=None) is AddressVerdict.DENY_NO_POLICY
    assert judge_before_lookup("example.com", 443, policy=None) is AddressVerdict.DENY_NO_POLICY
    assert AddressVerdict.DENY_NO_POLICY.is_denial and not AddressVerdict.UNKNOWN.is_allowed


def test_any_port_means_any() -> None:
    assert judge_dial(ip_address("93.184.216.34"), 3128, policy=ProxyPolicy()) is AddressVerdict.PUBLIC
    assert judge_before_lookup("proxy.example.com", 3128, policy=ProxyPolicy()) is None


def _embeddings(address: IPv4Address) -> list[IPv6Address]:
    number = int(address)
    teredo = (0x20010000 << 96) | (0x5DB8D822 << 64) | (number ^ 0xFFFFFFFF)
    return [
        IPv6Address(number),  # IPv4-compatible
        IPv6Address((0xFFFF << 32) | number),  # IPv4-mapped
        IPv6Address((0xFFFF << 48) | number),  # IPv4-translated
        IPv6Address((0x64FF9B << 96) | number),  # NAT64
        IPv6Address((0x64FF9B0001 << 80) | number),  # local NAT64
        IPv6Address((0x2002 << 112) | (number << 80) | 1),  # 6to4
        IPv6Address(teredo),
    ]


@given(st.sampled_from([network for network, _ in IPV4_DENIED]), st.data())
def test_refused_ipv4_is_refused_in_every_ipv6_form(network: object, data: st.DataObject) -> None:
    address = data.draw(st.ip_addresses(v=4, network=network))  # type: ignore[arg-type]
    assert judge_address(address, DEFAULT).is_denial
    for form in _embeddings(address):
        assert judge_address(form, DEFAULT).is_denial


@given(st.ip_addresses(v=4))
def test_no_ipv6_form_of_any_ipv4_address_is_dialled(address: IPv4Address) -> None:
    assert all(judge_address(form, DEFAULT).is_denial for form in _embeddings(address))


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public(address: IPv6Address) -> None:
    if judge_address(address, DEFAULT) is AddressVerdict.PUBLIC:
        assert address in ip_network("2000::/3")


def test_unsafe_network_matches_literally() -> None:
    assert judge_address(ip_address("127.0.0.1"), LOOPBACK) is AddressVerdict.UNSAFE_NETWORK
    assert judge_address(ip_address("::ffff:127.0.0.1"), LOOPBACK) is AddressVerdict.DENY_EMBEDS_IPV4
    assert judge_address(ip_address("::1"), LOOPBACK) is AddressVerdict.DENY_LOOPBACK
    mapped = TargetPolicy(unsafe_networks=(ip_network("::ffff:127.0.0.0/104"),))
    assert judge_address(ip_address("::ffff:127.0.0.1"), mapped) is AddressVerdict.UNSAFE_NETWORK
    assert judge_address(ip_address("127.0.0.1"), mapped) is AddressVerdict.DENY_LOOPBACK


def test_address_is_judged_before_its_port() -> None:
    assert judge_dial(ip_address("127.0.0.1"), 9999, policy=DEFAULT) is AddressVerdict.DENY_LOOPBACK
    assert judge_dial(ip_address("93.184.216.34"), 9999, policy=DEFAULT) is AddressVerdict.DENY_PORT
    assert judge_dial(ip_address("93.184.216.34"), 443, policy=DEFAULT) is AddressVerdict.PUBLIC
    assert judge_dial(ip_address("127.0.0.1"), 9999, policy=LOOPBACK) is AddressVerdict.UNSAFE_NETWORK


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_name_is_refused_without_lookup(name: str) -> None:
    assert is_private_name(name)
    assert judge_before_lookup(name, 80, policy=DEFAULT) is AddressVerdict.DENY_NAME


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_private_suffix_is_refused_and_as_an_inner_label_or_part_is_not(suffix: str) -> None:
    assert is_private_name(f"www.{suffix}")
    assert not is_private_name(f"{suffix}.example.com") and not is_private_name(f"www.x{suffix}")


@pytest.mark.parametrize("name", METADATA)
def test_metadata_service_is_refused_with_all_below_it(name: str) -> None:
    assert is_private_name(name) and is_private_name(f"api.{name}") and not is_private_name(f"x{name}")


def test_every_listed_name_has_a_row_here() -> None:
    assert frozenset(SUFFIXES) == PRIVATE_SUFFIXES and frozenset(METADATA) == METADATA_NAMES


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_name_is_left_to_the_lookup(name: str) -> None:
    assert judge_before_lookup(name, 443, policy=DEFAULT) is None
    assert judge_before_lookup(name, 22, policy=DEFAULT) is AddressVerdict.DENY_PORT


def test_private_name_needs_unsafe_answers() -> None:
    assert judge_before_lookup("localhost", 9999, policy=LOOPBACK) is None
    assert judge_dial(ip_address("127.0.0.1"), 9999, policy=LOOPBACK, name="localhost") is AddressVerdict.UNSAFE_NETWORK
    assert judge_dial(ip_address("93.184.216.34"), 80, policy=LOOPBACK, name="wiki.corp") is AddressVerdict.DENY_NAME
