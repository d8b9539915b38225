"""Read a target URL once, with the parser that will dial it, and hand on only its canonical form.

Refuses odd spellings instead of repairing them: parsers that disagree about a URL are how guards are bypassed.
Knows nothing of addresses; what a name resolves to is the fetcher's egress policy.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

import idna
from yarl import URL

URL_LIMIT_CHARACTERS = 4096
HOST_LIMIT_CHARACTERS = 253
READ_LIMIT = 1024
"""How many URLs are remembered as they were read: a fetch's is read where it comes in, sent to, and spoken of."""
UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
DEFAULT_PORTS = {"http": 80, "https": 443}
AMBIGUOUS_LETTERS = frozenset("ß\N{LATIN CAPITAL LETTER SHARP S}ς")
"""IDNA 2003 and 2008 make different names of these (UTS 46, section 6), so a host never has them spelled out."""

_AUTHORITY = re.compile(r"\A(?:[a-z][a-z0-9+.-]*)://([^/?#]+)", re.IGNORECASE)
_SCHEME = re.compile(r"\A([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_PORT = re.compile(r":([^:\]]*)\Z")
_PORT_NUMBER = re.compile(r"\A[1-9][0-9]{0,4}\Z")
_BRACKETED = re.compile(r"\A\[[0-9a-f:.]*:[0-9a-f:.]*\](?::[^:]*)?\Z", re.IGNORECASE)
_LABEL = re.compile(r"\A[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMERIC_LABEL = re.compile(r"\A(?:[0-9]+|0x[0-9a-f]*)\Z")


class UrlProblem(StrEnum):
    """Why a URL is refused before any lookup. The value is stable and safe to show."""

    TOO_LONG = "too_long"
    UNSAFE_CHARACTER = "unsafe_character"
    NOT_ABSOLUTE = "not_absolute"
    SCHEME = "scheme"
    USER_INFO = "user_info"
    HOST = "host"
    PORT = "port"


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRefusal:
    """A URL that we decline to read, with a sentence that says what to change."""

    problem: UrlProblem
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be looked up: canonical text, and the host that we are polite to.

    `parsed` is `url` as its parser read it, to be dialled without parsing it once more.
    """

    url: str
    scheme: str
    name: str
    port: int
    parsed: URL = field(repr=False, compare=False)

    @property
    def host(self) -> str:
        """The host of the glossary: the name alone on the standard ports, `name:port` on any other."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port in DEFAULT_PORTS.values() else f"{name}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, name and port: the origin of RFC 9110 section 4.3.1."""
        return (self.scheme, self.name, self.port)


@lru_cache(maxsize=READ_LIMIT)
def read_url(text: str) -> Target | UrlRefusal:
    """Read an absolute http or https URL (RFC 9110 section 4.2) or say why not; never raises."""
    refusal = _refuse_text(text)
    if refusal is not None:
        return refusal
    try:
        url = URL(text)
        # Only the decoded host shows whether labels of international names are well formed.
        raw_host, port = url.raw_host or "", url.port
        name = url.host if "xn--" in raw_host else raw_host
    except ValueError:
        return UrlRefusal(problem=UrlProblem.HOST, detail="The URL cannot be parsed; check its host and port.")
    if not name or port is None:
        return UrlRefusal(problem=UrlProblem.NOT_ABSOLUTE, detail="The URL has no host; write it as http://host/path.")
    raw_name = raw_host.lower()
    ascii_name = raw_name.removesuffix(".")
    if not _is_plain_host(ascii_name, is_absolute=raw_name != ascii_name) or not _is_faithful(ascii_name, text=text):
        return UrlRefusal(
            problem=UrlProblem.HOST,
            detail="The host is not a plain DNS name, a dotted IPv4 address or a bracketed IPv6 address.",
        )
    plain = url.with_fragment(None)
    plain = plain if plain.raw_host == ascii_name else plain.with_host(ascii_name)
    canonical = str(plain)
    if len(canonical) > URL_LIMIT_CHARACTERS:  # percent-encoding made it longer
        return _too_long()
    return Target(url=canonical, scheme=url.scheme, name=ascii_name, port=port, parsed=plain)


def read_redirect(location: str, *, base: Target) -> Target | UrlRefusal:
    """Resolve a `Location` value against the URL that sent it (RFC 9110 section 10.2.2), then judge it like any URL."""
    if _has_unsafe_character(location):
        return UrlRefusal(problem=UrlProblem.UNSAFE_CHARACTER, detail="The redirect target has an unsafe character.")
    if _SCHEME.match(location):  # RFC 3986 section 5.2.2: a reference with a scheme is not relative, whatever follows it
        return read_url(location)
    if location.startswith("//"):  # a reference with an authority: judged as it is written, not as a join would mend it
        return read_url(f"{base.scheme}:{location}")
    try:
        joined = str(URL(base.url).join(URL(location, encoded=True)))
    except ValueError:
        return UrlRefusal(problem=UrlProblem.HOST, detail="The redirect target cannot be parsed.")
    return read_url(joined)


def _refuse_text(text: str) -> UrlRefusal | None:
    if len(text) > URL_LIMIT_CHARACTERS:
        return _too_long()
    if _has_unsafe_character(text):
        return UrlRefusal(
            problem=UrlProblem.UNSAFE_CHARACTER,
            detail="The URL has a blank, a control character or a backslash; percent-encode it.",
        )
    scheme = _SCHEME.match(text)
    if scheme is None:
        return UrlRefusal(problem=UrlProblem.NOT_ABSOLUTE, detail="The URL is not absolute; start it with http:// or https://.")
    if scheme.group(1).lower() not in DEFAULT_PORTS:
        return UrlRefusal(problem=UrlProblem.SCHEME, detail="Only http and https URLs are fetched.")
    authority = _AUTHORITY.match(text)
    if authority is None:
        return UrlRefusal(problem=UrlProblem.NOT_ABSOLUTE, detail="The URL has no host; write it as http://host/path.")
    return _refuse_authority(authority.group(1))


def _too_long() -> UrlRefusal:
    return UrlRefusal(problem=UrlProblem.TOO_LONG, detail=f"The URL is longer than {URL_LIMIT_CHARACTERS} characters.")


@lru_cache(maxsize=4096)
def _refuse_authority(authority: str) -> UrlRefusal | None:
    if "@" in authority:
        return UrlRefusal(
            problem=UrlProblem.USER_INFO,
            detail="The URL carries credentials; send them in an Authorization header instead.",
        )
    if not _is_plainly_spelled(authority):
        return UrlRefusal(problem=UrlProblem.HOST, detail="The host is spelled in an ambiguous way; write it plainly.")
    port = _PORT.search(authority)
    if port is not None and not (_PORT_NUMBER.match(port.group(1)) and int(port.group(1)) <= 65535):
        return UrlRefusal(problem=UrlProblem.PORT, detail="The port is not a number from 1 to 65535.")
    return None


def _has_unsafe_character(text: str) -> bool:
    """Any blank, control, format or surrogate character, or a backslash, which some parsers read as a slash."""
    if text.isascii():
        return not text.isprintable() or " " in text or "\\" in text
    return any(character == "\\" or unicodedata.category(character) in UNSAFE_CATEGORIES for character in text)


def _is_plainly_spelled(authority: str) -> bool:
    """No escapes, brackets only around an IPv6 address, nothing that compatibility mapping changes, beyond ASCII letters only."""
    # RFC 3986 section 3.2.2 knows zones and IPvFuture too: neither is plain.
    if ("[" in authority or "]" in authority) and not _BRACKETED.match(authority):
        return False
    if "%" in authority:
        return False
    if authority.isascii():
        return True
    return unicodedata.is_normalized("NFKC", authority) and all(
        character.isascii() or (unicodedata.category(character)[0] in "LM" and character not in AMBIGUOUS_LETTERS)
        for character in authority
    )


def _is_faithful(name: str, *, text: str) -> bool:
    """Whether the letters of an international host became this name by strict IDNA 2008, without any mapping but of case."""
    if text.isascii():
        return True
    authority = _AUTHORITY.match(text)
    if authority is None or authority.group(1).isascii():
        return True
    host = _PORT.sub("", authority.group(1)).lower()
    try:
        return idna.encode(host.removesuffix(".")).decode("ascii") == name
    except UnicodeError:
        return False


@lru_cache(maxsize=4096)
def _is_plain_host(name: str, *, is_absolute: bool) -> bool:
    if ":" in name:
        return _is_address(name, ipaddress.IPv6Address)
    labels = name.split(".")
    if _NUMERIC_LABEL.match(labels[-1]):  # WHATWG URL, "ends in a number checker": then it must be a dotted quad
        return not is_absolute and _is_address(name, ipaddress.IPv4Address)
    return len(name) <= HOST_LIMIT_CHARACTERS and all(_LABEL.match(label) for label in labels)


def _is_address(text: str, family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        family(text)
    except ValueError:
        return False
    return True
