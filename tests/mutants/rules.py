"""The mutants of the egress guard: each takes one rule away, or bends it by one. A test must notice every one of them."""

import re
from dataclasses import dataclass
from pathlib import Path

URLS = "libs/common/common/urls.py"
RULES, EGRESS = "libs/common/common/egress", "services/fetcher/fetcher/egress"
ADDRESSES, POLICIES, RANGES = f"{RULES}/addresses.py", f"{RULES}/policies.py", f"{RULES}/ranges.py"
TARGETS, LOOKUP, TARGET_SETTINGS = f"{RULES}/targets.py", f"{RULES}/lookup.py", f"{RULES}/settings.py"
RESOLVER, DIAL, PROXY, CLIENT = f"{EGRESS}/resolver.py", f"{EGRESS}/dial.py", f"{EGRESS}/proxy.py", f"{EGRESS}/client.py"
ASKING, KEPT = f"{EGRESS}/asking.py", f"{EGRESS}/kept.py"
SETTINGS = "services/fetcher/fetcher/settings.py"
REQUEST_HEADERS = "libs/common/common/contracts/request_headers.py"

_RANGE = re.compile(r'^        \("([0-9a-f:.]+)/([0-9]+)", AddressVerdict\.[A-Z_0-9]+\),.*\n', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file: `old`, which is there exactly once, becomes `new`."""

    rule: str
    file: str
    old: str
    new: str


def mutants(top: Path) -> list[Mutant]:
    """All of them, for the sources in this checkout."""
    source = (top / ADDRESSES).read_text()
    return [*_ranges(source), *_words(source), *(Mutant(rule=r, file=f, old=o, new=n) for r, f, o, n in _RULES)]


def _ranges(source: str) -> list[Mutant]:
    found = []
    for match in _RANGE.finditer(source):
        network, length = match[1], int(match[2])
        place = f'("{network}/{length}"'
        found.append(Mutant(rule=f"range {network}/{length}", file=ADDRESSES, old=match[0], new=""))
        if length < (128 if ":" in network else 32):
            halved = f'("{network}/{length + 1}"'
            found.append(Mutant(rule=f"upper edge of {network}/{length}", file=ADDRESSES, old=place, new=halved))
    return found


def _words(source: str) -> list[Mutant]:
    suffixes = re.search(r'PRIVATE_SUFFIXES = frozenset\(\n    ("[^"]+")', source)
    names = re.search(r'METADATA_NAMES = frozenset\(\n    (\([^)]+\))', source)
    assert suffixes and names
    found = []
    for word in suffixes[1].strip('"').split():
        kept = re.sub(rf"\b{word}\b ?", "", suffixes[1], count=1)
        found.append(Mutant(rule=f"suffix {word}", file=ADDRESSES, old=suffixes[1], new=kept))
    for name in re.findall(r'"([^"]+)"', names[1]):
        found.append(Mutant(rule=f"name {name}", file=ADDRESSES, old=f'"{name}"', new='"nobody.example"'))
    return found


_RULES: tuple[tuple[str, str, str, str], ...] = (
    # The text half.
    ("length of a URL", URLS, "if len(text) > URL_LIMIT_CHARACTERS:", "if False:"),
    ("length of the canonical URL", URLS, "if len(canonical) > URL_LIMIT_CHARACTERS:", "if False:"),
    ("unsafe characters of a URL", URLS, "    if _has_unsafe_character(text):", "    if False:"),
    ("unsafe characters of a redirect", URLS, "    if _has_unsafe_character(location):", "    if False:"),
    ("control characters in ASCII", URLS, "return not text.isprintable() or ", "return "),
    ("blanks in ASCII", URLS, 'or " " in text ', ""),
    ("backslash in ASCII", URLS, ' or "\\\\" in text', ""),
    ("backslash beside letters beyond ASCII", URLS, 'character == "\\\\" or ', ""),
    *((f"characters of category {name}", URLS, f'"{name}"', '"Xx"') for name in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")),
    ("scheme is there", URLS, "    if scheme is None:", "    if scheme is None and False:"),
    ("schemes", URLS, "if scheme.group(1).lower() not in DEFAULT_PORTS:", "if False:"),
    ("user information", URLS, '    if "@" in authority:', "    if False:"),
    ("plain spelling", URLS, "    if not _is_plainly_spelled(authority):", "    if False:"),
    ("percent in a host", URLS, '    if "%" in authority:', "    if False:"),
    ("compatibility characters in a host", URLS, 'unicodedata.is_normalized("NFKC", authority) and ', ""),
    ("digits and dots of other scripts", URLS, 'unicodedata.category(character)[0] in "LM" and ', ""),
    ("letters that two IDNAs read differently", URLS, " and character not in AMBIGUOUS_LETTERS", ""),
    ("strict IDNA", URLS, " or not _is_faithful(ascii_name, text=text)", ""),
    ("brackets only around an address", URLS, "not _BRACKETED.match(authority)", "False"),
    ("spelling of a port", URLS, "    if port is not None and not (", "    if False and not ("),
    ("lowest port", URLS, "[1-9][0-9]{0,4}", "[0-9]{1,5}"),
    ("highest port", URLS, " <= 65535)", " <= 99999)"),
    ("address in brackets", URLS, "return _is_address(name, ipaddress.IPv6Address)", "return True"),
    ("name that ends in a number", URLS, "if _NUMERIC_LABEL.match(labels[-1]):", "if False:"),
    ("hexadecimal last label", URLS, "|0x[0-9a-f]*)", ")"),
    ("dotted quad with a dot at its end", URLS, "return not is_absolute and _is_address", "return _is_address"),
    ("dotted quad", URLS, "not is_absolute and _is_address(name, ipaddress.IPv4Address)", "not is_absolute"),
    ("length of a name", URLS, "len(name) <= HOST_LIMIT_CHARACTERS and ", ""),
    ("labels of a name", URLS, " and all(_LABEL.match(label) for label in labels)", ""),
    ("length of a label", URLS, "{0,61}", "{0,62}"),
    ("one dot at the end", URLS, 'raw_name.removesuffix(".")', 'raw_name.rstrip(".")'),
    ("dot at the end is dropped", URLS, 'raw_name.removesuffix(".")', "raw_name"),
    ("fragment is dropped", URLS, "plain = url.with_fragment(None)", "plain = url"),
    ("redirect with a scheme is judged as written", URLS, "    if _SCHEME.match(location):", "    if False:"),
    ("redirect with a host is judged as written", URLS, '    if location.startswith("//"):', "    if False:"),
    ("redirect is read by the same rules", URLS, "    return read_url(joined)\n", "    return _trust(joined, base)\n"
     "\n\ndef _trust(joined: str, base: Target) -> Target:\n"
     "    return Target(url=joined, scheme=base.scheme, name=base.name, port=base.port, parsed=URL(joined))\n"),
    # Addresses, names, ports.
    ("no policy, no address", ADDRESSES,
     "    if policy is None:\n        return AddressVerdict.DENY_NO_POLICY\n    if isinstance",
     "    if policy is None:\n        return AddressVerdict.PUBLIC\n    if isinstance"),
    ("no policy, no name", ADDRESSES,
     "    if policy is None:\n        return AddressVerdict.DENY_NO_POLICY\n    if policy.unsafe",
     "    if policy is None:\n        return None\n    if policy.unsafe"),
    ("address with a zone", ADDRESSES, "if isinstance(address, IPv6Address) and address.scope_id is not None:", "if False:"),
    ("global unicast only", ADDRESSES, "otherwise=AddressVerdict.DENY_NOT_UNICAST", "otherwise=AddressVerdict.PUBLIC"),
    ("first of overlapping ranges wins", RANGES, "[next((value for first, last, value in spans if",
     "[next((value for first, last, value in reversed(spans) if"),
    ("end of a range", RANGES, "*(last + 1 for _, last, _ in spans)", "*(last for _, last, _ in spans)"),
    ("start of a range", RANGES, "int(address)) - 1]", "int(address) - 1) - 1]"),
    ("families apart", RANGES, " if entry[0].version == version]", "]"),
    ("extent of global unicast", ADDRESSES, '"2000::/3"', '"::/2"'),
    ("unsafe network is literal", ADDRESSES, "    if policy.unsafe_ranges.at(address):",
     "    if policy.unsafe_ranges.at(getattr(address, 'ipv4_mapped', None) or address):"),
    ("unsafe network opens", ADDRESSES, "        return AddressVerdict.UNSAFE_NETWORK", "        pass"),
    ("private name with a public address", ADDRESSES, "    if name is not None and is_private_name(name):", "    if False:"),
    ("private name needs no lookup", ADDRESSES, "    if is_private_name(name):\n        return", "    if False:\n        return"),
    ("port needs no lookup", ADDRESSES,
     "return None if _is_open(port, policy=policy) else AddressVerdict.DENY_PORT", "return None"),
    ("port at the dial", ADDRESSES, "return verdict if _is_open(port, policy=policy) else AddressVerdict.DENY_PORT",
     "return verdict"),
    ("single labels", ADDRESSES, "len(labels) == 1\n        or ", ""),
    ("suffixes", ADDRESSES, "labels[-1] in PRIVATE_SUFFIXES", "False"),
    ("names below a metadata service", ADDRESSES, "for start in range(len(labels))", "for start in (0,)"),
    ("what is allowed", ADDRESSES,
     "is AddressVerdict.PUBLIC or self is AddressVerdict.UNSAFE_NETWORK", "is not AddressVerdict.UNKNOWN"),
    # Policies and settings.
    ("ports of targets and callbacks", POLICIES,
     "ports: frozenset[int] | None = WEB_PORTS", "ports: frozenset[int] | None = None"),
    ("any port for proxies", POLICIES, '    ports: frozenset[int] | None = None\n', "    pass\n"),
    ("kind of a policy", POLICIES, "if type(self) is EgressPolicy:", "if False:"),
    ("targets have their own networks", TARGET_SETTINGS, "unsafe_networks=self.unsafe_target_networks)",
     "unsafe_networks=self.unsafe_target_networks + getattr(self, 'unsafe_proxy_networks', ()))"),
    ("targets have their own ports", TARGET_SETTINGS, "ports=frozenset(self.target_ports), ", ""),
    ("callbacks have their own networks", SETTINGS, "CallbackPolicy(unsafe_networks=self.unsafe_callback_networks)",
     "CallbackPolicy(unsafe_networks=self.unsafe_target_networks)"),
    ("proxies have their own networks", SETTINGS, "ProxyPolicy(unsafe_networks=self.unsafe_proxy_networks)",
     "ProxyPolicy(unsafe_networks=self.unsafe_target_networks)"),
    ("kind of a connector's policies", DIAL,
     "    if not isinstance(policy, TargetPolicy | CallbackPolicy) or", "    if False and"),
    ("kind of a proxy's policy", DIAL, " or not isinstance(proxy and proxy.policy, ProxyPolicy | None)", ""),
    # Without asking anybody, and the lookup.
    ("literals need no lookup", TARGETS, "    if address is None:\n", "    if True:\n"),
    ("lookup has a limit", LOOKUP, "asyncio.timeout(self._timeout_seconds)", "asyncio.timeout(None)"),
    ("answers have a limit", LOOKUP, "tuple(found)[:ANSWER_LIMIT]", "tuple(found)"),
    ("one bad answer refuses the set", LOOKUP,
     "denied[0] if denied else verdicts[0]", "verdicts[0]"),
    ("one good answer is not enough", LOOKUP,
     "for verdict in verdicts if not verdict.is_allowed]", "for verdict in verdicts if verdict.is_allowed]"),
    ("answers beyond the limit are judged too", LOOKUP, "for address in found.values()]",
     "for address in list(found.values())[:ANSWER_LIMIT]]"),
    ("refused answers are not handed on", RESOLVER, "        if not hop.verdict.is_allowed:", "        if False:"),
    ("answers are judged for their name", LOOKUP, ", policy=self._policy, name=name)", ", policy=self._policy)"),
    ("absolute names", LOOKUP, 'name if policy.unsafe_networks else f"{name}."', "name"),
    ("no answer is no address", LOOKUP, "        if not found:", "        if False:"),
    ("answer that is no address", LOOKUP, "except (OSError, ValueError) as error:", "except (OSError, UnicodeError) as error:"),
    # The dial.
    ("address is judged at the dial", DIAL,
     "    if not hop.verdict.is_allowed:\n        raise PermissionError", "    if False:\n        raise PermissionError"),
    ("no cached answers", DIAL, "use_dns_cache=False,", "use_dns_cache=True,"),
    ("sockets come from the judging factory", DIAL,
     "        socket_factory=guarded_socket_factory(policy, open_socket=open_socket),\n", ""),
    ("peer is an allowed address", DIAL,
     "    if not hop.verdict.is_allowed:\n            raise refuse", "    if False:\n            raise refuse"),
    ("peer is the dialled address", DIAL, "            if is_stranger:\n", "            if False:\n"),
    ("a kept connection is one that was judged", DIAL, "        if known is None:\n", "        if hop.dialled:\n"),
    ("connect budget of a dial", DIAL, "sock_connect=self._seconds_left(req)", "sock_connect=None"),
    ("connect budget over all addresses", DIAL, "        if now >= req.connect_ends_at:", "        if False:"),
    ("connect budget of a tunnel", DIAL,
     "        async with asyncio.timeout(timeout.sock_connect):", "        async with asyncio.timeout(None):"),
    ("connect budget is shared", DIAL, "if req.connect_ends_at is None:", "if True:"),
    ("TLS 1.2 at least", DIAL,
     "context.minimum_version = ssl.TLSVersion.TLSv1_2", "context.minimum_version = ssl.TLSVersion.TLSv1"),
    ("certificates are verified", DIAL, "context = ssl.create_default_context()", "context = ssl._create_unverified_context()"),
    # Proxies.
    ("target is judged before the tunnel", DIAL,
     "address = _admit(sockaddr, hop=hop, policy=self._policy)", "address = read_address(sockaddr[0])"),
    ("proxy is judged at the dial", PROXY,
     "            if not verdict.is_allowed:\n                raise _refused(verdict)",
     "            if False:\n                raise _refused(verdict)"),
    ("proxy's answers are judged", PROXY, "if answers.verdict.is_allowed:", "if True:"),
    ("proxy's name is judged", PROXY, "verdict = judge_before_lookup(name, port, policy=policy)", "verdict = None"),
    ("peer is the proxy", DIAL, "if is_stranger or not self._dialer", "if not self._dialer"),
    ("proxy gets the literal", PROXY, 'else f"{address}:{port}"', 'else f"{self._proxy.name}:{port}"'),
    ("proxy must say yes", PROXY, "if not _STATUS.match(reply) or not", "if not"),
    ("nothing after a proxy's head", PROXY, " or not reply.endswith(_HEAD_END)", ""),
    ("length of a proxy's head", PROXY, "if not received or len(reply) > REPLY_LIMIT_BYTES:", "if not received:"),
    ("credentials of a proxy", PROXY, "        if self._proxy.credentials is not None:", "        if False:"),
    ("credentials have no control characters", PROXY, " or any(byte < 0x20 or byte == 0x7F for byte in plain)", ""),
    ("credentials are not shown", PROXY, "field(default=None, repr=False)", "None"),
    ("proxies are http", PROXY, "http://(?:(?P<user>", "https?://(?:(?P<user>"),
    # The exchange, as far as it guards.
    ("other end is judged before a request", ASKING,
     "connector.judge_connection(connection, hop=hop)", "(connection.transport, connection.protocol)"),
    ("no line end in a header", ASKING,
     'return _serialize_headers(f"{method} {url.raw_path_qs} HTTP/1.1", fields)',
     'return "\\r\\n".join([f"{method} {url.raw_path_qs} HTTP/1.1", *map(": ".join, fields.items()), "", ""]).encode()'),
    ("sent again on a kept connection only", CLIENT, "if not log.hops[-1].is_reused or ", "if "),
    ("limit of kept connections", KEPT, "while len(self._idle) > self._idle_limit:", "while False:"),
    ("literal is judged before all", CLIENT,
     "    if hop.verdict is not None and hop.verdict.is_denial:", "    if hop is None:"),
    ("denied request headers", REQUEST_HEADERS, "return lowered in _DENIED or ", "return "),
    ("denied prefixes of request headers", REQUEST_HEADERS, " or lowered.startswith(_DENIED_PREFIXES)", ""),
)
