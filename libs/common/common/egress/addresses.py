"""Which addresses, names and ports may be dialled. Pure: no lookup, no socket, no clock.

The lists are explicit (IANA special-purpose registries, RFC 6890), because `ipaddress.is_global` differs between Python
versions and lets multicast, 6to4, NAT64 and 168.63.129.16 through. What is not listed as reachable is refused.
"""

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from common.egress.policies import Address as Address
from common.egress.policies import EgressPolicy as EgressPolicy
from common.egress.ranges import Ranges


class AddressVerdict(StrEnum):
    """Why a target may or may not be dialled; UNKNOWN until it is judged. The value is the metric label and the evidence."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    UNSAFE_NETWORK = "unsafe_network"
    DENY_UNSPECIFIED = "deny_unspecified"
    DENY_LOOPBACK = "deny_loopback"
    DENY_PRIVATE = "deny_private"
    DENY_SHARED = "deny_shared"
    DENY_LINK_LOCAL = "deny_link_local"
    DENY_SPECIAL = "deny_special"
    DENY_DOCUMENTATION = "deny_documentation"
    DENY_MULTICAST = "deny_multicast"
    DENY_RESERVED = "deny_reserved"
    DENY_PLATFORM = "deny_platform"
    DENY_EMBEDS_IPV4 = "deny_embeds_ipv4"
    DENY_NOT_UNICAST = "deny_not_unicast"
    DENY_NO_POLICY = "deny_no_policy"
    DENY_NAME = "deny_name"
    DENY_PORT = "deny_port"
    DENY_PEER = "deny_peer"
    DENY_SCHEME = "deny_scheme"
    DENY_URL = "deny_url"

    @property
    def is_allowed(self) -> bool:
        """True when the target may be dialled."""
        return self is AddressVerdict.PUBLIC or self is AddressVerdict.UNSAFE_NETWORK

    @property
    def is_denial(self) -> bool:
        """True when the target was judged and refused."""
        return self.startswith("deny_")


IPV4_DENIED: tuple[tuple[IPv4Network, AddressVerdict], ...] = tuple(
    (IPv4Network(network), verdict)
    for network, verdict in (
        ("0.0.0.0/8", AddressVerdict.DENY_UNSPECIFIED),  # RFC 791 section 3.2, "this network"
        ("10.0.0.0/8", AddressVerdict.DENY_PRIVATE),  # RFC 1918
        ("100.64.0.0/10", AddressVerdict.DENY_SHARED),  # RFC 6598
        ("127.0.0.0/8", AddressVerdict.DENY_LOOPBACK),  # RFC 1122 section 3.2.1.3
        ("169.254.0.0/16", AddressVerdict.DENY_LINK_LOCAL),  # RFC 3927, and cloud metadata
        ("172.16.0.0/12", AddressVerdict.DENY_PRIVATE),  # RFC 1918
        ("192.0.0.0/24", AddressVerdict.DENY_SPECIAL),  # RFC 6890 section 2.1
        ("192.0.2.0/24", AddressVerdict.DENY_DOCUMENTATION),  # RFC 5737
        ("192.31.196.0/24", AddressVerdict.DENY_SPECIAL),  # RFC 7535, AS112
        ("192.52.193.0/24", AddressVerdict.DENY_SPECIAL),  # RFC 7450, AMT
        ("192.88.99.0/24", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 7526, 6to4 relay
        ("192.168.0.0/16", AddressVerdict.DENY_PRIVATE),  # RFC 1918
        ("192.175.48.0/24", AddressVerdict.DENY_SPECIAL),  # RFC 7534, AS112
        ("198.18.0.0/15", AddressVerdict.DENY_SPECIAL),  # RFC 2544, benchmarking
        ("198.51.100.0/24", AddressVerdict.DENY_DOCUMENTATION),  # RFC 5737
        ("203.0.113.0/24", AddressVerdict.DENY_DOCUMENTATION),  # RFC 5737
        ("224.0.0.0/4", AddressVerdict.DENY_MULTICAST),  # RFC 5771
        ("240.0.0.0/4", AddressVerdict.DENY_RESERVED),  # RFC 1112 section 4, and the limited broadcast
        ("168.63.129.16/32", AddressVerdict.DENY_PLATFORM),  # Azure's host agent: global by registry, internal by use
    )
)

IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 section 2.4: the only block IANA delegates
IPV6_DENIED: tuple[tuple[IPv6Network, AddressVerdict], ...] = tuple(
    (IPv6Network(network), verdict)
    for network, verdict in (
        ("2001::/23", AddressVerdict.DENY_SPECIAL),  # RFC 2928: Teredo, ORCHID, benchmarking
        ("2001:db8::/32", AddressVerdict.DENY_DOCUMENTATION),  # RFC 3849
        ("2002::/16", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 3056, 6to4
        ("2620:4f:8000::/48", AddressVerdict.DENY_SPECIAL),  # RFC 7534, AS112
        ("3fff::/20", AddressVerdict.DENY_DOCUMENTATION),  # RFC 9637
        # Outside 2000::/3 and refused by that alone; listed so that the verdict says what they are.
        ("::/128", AddressVerdict.DENY_UNSPECIFIED),  # RFC 4291 section 2.5.2
        ("::1/128", AddressVerdict.DENY_LOOPBACK),  # RFC 4291 section 2.5.3
        ("::/96", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 4291 section 2.5.5.1, IPv4-compatible
        ("::ffff:0:0/96", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 4291 section 2.5.5.2, IPv4-mapped
        ("::ffff:0:0:0/96", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 2765, IPv4-translated
        ("64:ff9b::/96", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 6052, NAT64
        ("64:ff9b:1::/48", AddressVerdict.DENY_EMBEDS_IPV4),  # RFC 8215, local NAT64
        ("fc00::/7", AddressVerdict.DENY_PRIVATE),  # RFC 4193
        ("fe80::/10", AddressVerdict.DENY_LINK_LOCAL),  # RFC 4291 section 2.5.6
        ("ff00::/8", AddressVerdict.DENY_MULTICAST),  # RFC 4291 section 2.7
    )
)

_VERDICTS = Ranges(
    (
        *IPV4_DENIED,
        (IPv4Network("0.0.0.0/0"), AddressVerdict.PUBLIC),
        *IPV6_DENIED,
        (IPV6_GLOBAL_UNICAST, AddressVerdict.PUBLIC),
    ),
    otherwise=AddressVerdict.DENY_NOT_UNICAST,
)

PRIVATE_SUFFIXES = frozenset(
    "localhost localdomain local internal corp lan home intranet private arpa svc onion i2p invalid alt".split()
)
METADATA_NAMES = frozenset(
    ("metadata.goog", "metadata.tencentyun.com", "metadata.platformequinix.com", "metadata.cloud.ibm.com")
)
"""Cloud metadata services under public suffixes."""


@lru_cache(maxsize=4096)
def read_address(text: str) -> Address:
    """The address that `text` spells. One dial asks for it at its lookup, its socket and its peer, and it is read once.

    Raises ValueError when it spells none.
    """
    return ip_address(text)


@lru_cache(maxsize=4096)
def read_literal(name: str) -> Address | None:
    """The address that a host's name is, or None when it is a name to look up."""
    try:
        return ip_address(name)
    except ValueError:
        return None


def judge_address(address: Address, policy: EgressPolicy | None) -> AddressVerdict:
    """May this very address be dialled? A listed unsafe network matches literally, never through an embedded IPv4.

    No policy allows nothing. An IPv6 address with a zone is never dialled: the zone picks an interface of this machine.
    """
    if policy is None:
        return AddressVerdict.DENY_NO_POLICY
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return AddressVerdict.DENY_NOT_UNICAST
    if policy.unsafe_ranges.at(address):
        return AddressVerdict.UNSAFE_NETWORK
    return _VERDICTS.at(address)


def judge_dial(address: Address, port: int, *, policy: EgressPolicy | None, name: str | None = None) -> AddressVerdict:
    """May this address be dialled on this port, and, when `name` led to it, for that name? The address is judged first."""
    verdict = judge_address(address, policy)
    if policy is None or verdict is not AddressVerdict.PUBLIC:
        return verdict
    if name is not None and is_private_name(name):
        return AddressVerdict.DENY_NAME
    return verdict if _is_open(port, policy=policy) else AddressVerdict.DENY_PORT


def judge_before_lookup(name: str, port: int, *, policy: EgressPolicy | None) -> AddressVerdict | None:
    """The verdict that needs no lookup, or None. Where unsafe networks are listed, only the answers can tell."""
    if policy is None:
        return AddressVerdict.DENY_NO_POLICY
    if policy.unsafe_networks:
        return None
    if is_private_name(name):
        return AddressVerdict.DENY_NAME
    return None if _is_open(port, policy=policy) else AddressVerdict.DENY_PORT


@lru_cache(maxsize=4096)
def is_private_name(name: str) -> bool:
    """Is this lower-case name one that only a private network resolves, or a cloud's metadata service?"""
    labels = name.split(".")
    return (
        len(labels) == 1
        or labels[-1] in PRIVATE_SUFFIXES
        or any(".".join(labels[start:]) in METADATA_NAMES for start in range(len(labels)))
    )


def _is_open(port: int, *, policy: EgressPolicy) -> bool:
    return policy.ports is None or port in policy.ports
