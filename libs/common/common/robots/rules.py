"""What a robots.txt says to us (RFC 9309 section 2.2): its text, its one group that is about us, and the verdict on a URL.

Pure. protego does the matching; here is only what it leaves open: which group is ours by our product token alone, lines as the
RFC ends them, and which line to quote. It is handed our group and no other, since it keeps each rule once for each agent that a
group names: a file of our size limit could make that hundreds of millions.
"""

import re
from collections.abc import Iterable
from typing import Self
from urllib.parse import urlsplit

from common.contracts.robots import ROBOTS_LIMIT_BYTES
from protego import Protego

CRAWL_DELAY_LIMIT_SECONDS = 300.0
QUOTE_LIMIT_CHARACTERS = 200
"""Of a line that is quoted in the evidence; longer ones end in an ellipsis."""
CANDIDATE_LIMIT = 200
"""Lines tried for the quote, longest first. Only the quote can be missed for it, never the verdict."""

_ANY_AGENT = "*"
_LINE_END = re.compile(r"\r\n|\r|\n")
_OTHER_LINE_ENDS = dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ") | {0: "\ufffd"}
"""What str.splitlines takes for a line end and the RFC does not; and NUL, which no text column can hold."""
_AGENT = re.compile(r"user[-\s]*agent\s*(?::|\s)\s*(.*)", re.IGNORECASE)
_OF_NO_GROUP = re.compile(r"(?:sitemaps?|site-map|host)\s*(?::|\s)", re.IGNORECASE)
_RULE = re.compile(r"(allow|di\w{5,7})\s*(?::|\s)\s*(.*)", re.IGNORECASE)
_PLAIN_START = re.compile(r"[A-Za-z0-9_.~/=-]*")
"""The characters that percent-encoding leaves alone: there, pattern and path must be equal as written."""


class RobotsRules:
    """The rules that bind us in one file. `weight` is their length in characters, a measure of the memory they take."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines = tuple(lines)
        self._parsed = _parse(self._lines)
        self.weight = sum(map(len, self._lines))

    @classmethod
    def read(cls, text: str, *, product_token: str) -> Self:
        """The rules of the groups that name our product token, of those for `*` when none does; never raises."""
        return cls(_lines_about(product_token.lower(), _LINE_END.split(text)))

    @property
    def crawl_delay_seconds(self) -> float | None:
        """The seconds between two requests that the file asks for, at most CRAWL_DELAY_LIMIT_SECONDS."""
        delay = self._parsed.crawl_delay(_ANY_AGENT)
        return None if delay is None else min(delay, CRAWL_DELAY_LIMIT_SECONDS)

    def is_allowed(self, url: str) -> bool:
        """Whether this absolute URL may be fetched: the longest matching rule decides, of two as long `allow`."""
        return self._parsed.can_fetch(url, _ANY_AGENT)

    def quote(self, url: str) -> str | None:
        """The line that decides about a URL, as it stands in the file; None when none does, or the file is absurd.

        Never a line that says otherwise than `is_allowed`.
        """
        verdict = self.is_allowed(url)
        candidates = sorted(_candidates(self._lines, path=_path_of(url)), key=len, reverse=True)[:CANDIDATE_LIMIT]
        matching = [line for line in candidates if _matches(line, url)]
        against = [line for line in matching if _is_allow(line) is not verdict]
        for line in matching:
            if _is_allow(line) is verdict and _parse((line, *against)).can_fetch(url, _ANY_AGENT) is verdict:
                return line if len(line) <= QUOTE_LIMIT_CHARACTERS else f"{line[:QUOTE_LIMIT_CHARACTERS - 1]}…"
        return None


def product_token(user_agent: str) -> str:
    """The name by which robots.txt calls us: the first token of a User-Agent, up to its version (RFC 9309 section 2.2.1)."""
    return re.split(r"[\s/]", user_agent.strip(), maxsplit=1)[0]


def read_text(body: bytes) -> str:
    """The text of a robots.txt, without NUL: UTF-8 with or without a BOM, what is no UTF-8 replaced.

    Of a body over ROBOTS_LIMIT_BYTES the first complete lines are kept: half a rule would be another rule. A page of markup
    has no text: many hosts answer every path with one, and its words are not rules.
    """
    if len(body) > ROBOTS_LIMIT_BYTES:
        kept = body[:ROBOTS_LIMIT_BYTES]
        body = kept[: max(kept.rfind(b"\n"), kept.rfind(b"\r")) + 1]
    text = body.decode("utf-8-sig", errors="replace").translate(_OTHER_LINE_ENDS)
    return "" if text.lstrip().startswith("<") else text


def _lines_about(token: str, lines: Iterable[str]) -> list[str]:
    """The lines of our groups, told apart as protego does; no line that it would read as an agent is left."""
    groups: dict[str, list[str]] = {}
    names: set[str] = set()
    in_header = False
    for line in lines:
        content = line.partition("#")[0].strip()
        if agent := _AGENT.match(content):
            if not in_header:
                names, in_header = set(), True
            name = _agent_name(agent[1])
            if name in (token, _ANY_AGENT):
                names.add(name)
                groups.setdefault(name, [])
        elif content and not _OF_NO_GROUP.match(content):
            in_header = in_header and not (":" in content or _RULE.match(content))
            for name in names:
                groups[name].append(line.strip())
    return groups.get(token, groups.get(_ANY_AGENT, []))


def _agent_name(value: str) -> str:
    """`Name/1.0 (comment)` and `Name*` are written by people who mean `Name`."""
    name = product_token(value).lower()
    return name.replace(_ANY_AGENT, "") or name


def _candidates(lines: Iterable[str], *, path: str) -> Iterable[str]:
    """The rules that may match: all that do, and few others, found without percent-decoding anything."""
    start = _plain_start(path)
    for line in lines:
        rule = _RULE.match(line)
        if rule is None:
            continue
        pattern = _plain_start(rule[2])
        is_near = start.startswith(pattern) if start == path else start.startswith(pattern[: len(start)])
        if is_near or rule[2].startswith("http") or "index.html" in rule[2]:  # both of which protego reads in its own way
            yield line


def _matches(line: str, url: str) -> bool:
    if _is_allow(line):  # it wins over the shortest rule against it exactly when it matches
        return _parse(("Disallow: /", line)).can_fetch(url, _ANY_AGENT)
    return not _parse((line,)).can_fetch(url, _ANY_AGENT)


def _parse(lines: Iterable[str]) -> Protego:
    return Protego.parse("\n".join((f"User-agent: {_ANY_AGENT}", *lines)))


def _is_allow(line: str) -> bool:
    return line[:5].lower() == "allow"


def _plain_start(text: str) -> str:
    start = _PLAIN_START.match(text)
    return start[0] if start else ""


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{path}?{parts.query}" if "?" in url else path
