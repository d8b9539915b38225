"""What a robots.txt says to us: whose group is ours, what a rule matches, which line is quoted, and what is no rule at all."""

import re
import time

import pytest
from common.contracts.robots import ROBOTS_LIMIT_BYTES
from common.robots.rules import QUOTE_LIMIT_CHARACTERS, RobotsRules, product_token, read_text
from hypothesis import given, settings
from hypothesis import strategies as st
from protego import Protego

HOST = "http://host.example"


def rules(text: str, token: str = "Fetchwork") -> RobotsRules:
    return RobotsRules.read(text, product_token=token)


def for_all(*lines: str) -> RobotsRules:
    return rules("\n".join(("User-agent: *", *lines)))


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("Fetchwork/1.2 (+https://example.invalid/bot)", "Fetchwork"),
        ("Fetchwork", "Fetchwork"),
        ("my-bot (x)", "my-bot"),
        (" Bot/2 ", "Bot"),
    ],
)
def test_product_token_is_the_first_of_the_user_agent(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


@pytest.mark.parametrize(
    ("rule", "path", "is_allowed"),
    [
        ("Disallow: /", "/", False),
        ("Disallow: /", "", False),
        ("Disallow:", "/a", True),  # an empty rule matches nothing
        ("Disallow: /fish", "/fish.html", False),
        ("Disallow: /fish", "/Fish.html", True),  # RFC 9309 section 2.2.2: paths are case sensitive
        ("disallow:/fish # all of it", "/fish", False),
        ("DISALLOW : /fish", "/fish", False),
        ("Disallow: /*.pdf$", "/a/b.pdf", False),
        ("Disallow: /*.pdf$", "/a/b.pdf?x=1", True),
        ("Disallow: /*.pdf", "/a/b.pdf?x=1", False),
        ("Disallow: /a/*/c", "/a/b/b/c/d", False),
        ("Disallow: /*?session=", "/page?session=1", False),
        ("Disallow: /*?session=", "/page?other=1", True),
        ("Disallow: /caf%C3%A9", "/café", False),
        ("Disallow: /café", "/caf%c3%a9", False),
        ("Disallow: /%61", "/a", False),  # RFC 9309 section 2.2.2: unreserved characters are the same encoded or not
        ("Disallow: /a", "/%61b", False),
        ("Disallow: /a%2Fb", "/a/b", True),  # an encoded slash is not a slash
        ("Disallow: /a%2Fb", "/a%2fb", False),
        ("Disallow: /robots.txt", "/robots.txt", True),
    ],
)
def test_rule_matches_path_and_query(rule: str, path: str, is_allowed: bool) -> None:
    group = for_all(rule)
    assert group.is_allowed(HOST + path) is is_allowed
    assert group.quote(HOST + path) == (None if is_allowed else rule)


@pytest.mark.parametrize(
    ("lines", "path", "line"),
    [
        (("Disallow: /a", "Allow: /a/b"), "/a/b/c", "Allow: /a/b"),
        (("Allow: /a", "Disallow: /a/b"), "/a/b/c", "Disallow: /a/b"),
        (("Disallow: /a", "Allow: /a"), "/a", "Allow: /a"),  # RFC 9309 section 2.2.2: of equivalent rules, allow
        (("Allow: /", "Disallow: /*.gif"), "/x.gif", "Disallow: /*.gif"),
        (("Disallow: /%61%61%61", "Allow: /aaaa"), "/aaaa", "Allow: /aaaa"),  # longer in octets that count, not as written
        (("Disallow: /%61%61", "Allow: /aaa", "Disallow: /aaaa"), "/aaaa", "Disallow: /aaaa"),
        (("Disallow: /", "Allow: /index.html"), "/", "Allow: /index.html"),
        (("Disallow: /", "Allow: /$"), "/", "Allow: /$"),
        (("Disallow: /x",), "/y", None),
    ],
)
def test_longest_match_decides_and_is_quoted(lines: tuple[str, ...], path: str, line: str | None) -> None:
    group = for_all(*lines)
    assert group.quote(HOST + path) == line
    assert group.is_allowed(HOST + path) is (line is None or line.startswith("Allow"))


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("User-agent: *\nDisallow: /\nUser-agent: fetchwork\nAllow: /", True),
        ("User-agent: FETCHWORK\nDisallow: /\nUser-agent: *\nAllow: /", False),
        ("User-agent: Fetchwork/1.0 (robot)\nDisallow: /", False),
        ("User-agent: fetch\nDisallow: /", True),  # another robot, however alike
        ("User-agent: fetchwork-news\nDisallow: /", True),
        ("User-agent: other\nUser-agent: fetchwork\nDisallow: /", False),
        ("User-agent: fetchwork\nDisallow: /b\nUser-agent: other\nDisallow: /c\nUser-agent: fetchwork\nDisallow: /a", False),
        ("User-agent: other\nDisallow: /", True),
        ("User-agent: fetchwork\nSitemap: http://x.example/\nUser-agent: other\nDisallow: /", False),  # section 2.2.4: no end
        ("Disallow: /\nUser-agent: fetchwork", True),  # rules before any agent
        ("User-agent: fetchwork\nCrawl-delay: 1\n\nUser-agent: *\nDisallow: /", True),  # a group of ours without rules
        ("User-agent: *\r\nDisallow: /a\r\n", False),
        ("User-agent: *\rDisallow: /a\r", False),
        ("# Disallow nobody\u2028Disallow: /\nUser-agent: *", True),
        ("", True),
    ],
)
def test_group_is_ours_by_exact_token_or_everyones(text: str, is_allowed: bool) -> None:
    assert rules(read_text(text.encode())).is_allowed(f"{HOST}/a") is is_allowed


def test_line_end_that_is_none_in_the_rfc_starts_no_rule() -> None:
    assert rules(read_text("User-agent: *\n# see\u2028Disallow: /\x0bDisallow: /".encode())).is_allowed(f"{HOST}/a")


@pytest.mark.parametrize(
    ("line", "seconds"), [("2.5", 2.5), ("86400", 300.0), ("0", 0.0), ("-1", None), ("inf", None), ("soon", None)]
)
def test_crawl_delay_is_read_and_capped(line: str, seconds: float | None) -> None:
    assert for_all(f"Crawl-delay: {line}").crawl_delay_seconds == seconds


def test_text_is_utf8_without_mark_or_nul() -> None:
    assert read_text(b"\xef\xbb\xbfUser-agent: *\nDisallow: /a\x00\n\xff") == "User-agent: *\nDisallow: /a\ufffd\n\ufffd"
    assert not rules(read_text(b"\xef\xbb\xbfUser-agent: *\nDisallow: /")).is_allowed(HOST)


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_text_beyond_the_limit_is_dropped_with_the_line_that_it_cuts(end: bytes) -> None:
    start = b"User-agent: *" + end + b"Disallow: /a" + end
    body = start + b"#" * (ROBOTS_LIMIT_BYTES - len(start) - 12) + end + b"Disallow: /private" + end
    assert body[:ROBOTS_LIMIT_BYTES].endswith(b"Disallow: /")
    cut = rules(read_text(body))
    assert not cut.is_allowed(f"{HOST}/a") and cut.is_allowed(f"{HOST}/private") and cut.is_allowed(f"{HOST}/b")
    assert read_text(b"User-agent: *" * ROBOTS_LIMIT_BYTES) == ""


def test_page_of_markup_has_no_rules() -> None:
    page = b"\n<!doctype html><pre>\nUser-agent: *\nDisallow: /\n</pre>"
    assert rules(read_text(page)).is_allowed(f"{HOST}/a")


def test_long_line_is_quoted_with_an_ellipsis() -> None:
    line = for_all("Disallow: /" + "a" * 5000).quote(f"{HOST}/{'a' * 5000}") or ""
    assert len(line) == QUOTE_LIMIT_CHARACTERS and line.endswith("a…")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"User-agent: a{number}\n" for number in range(14_000)) + "Disallow: /a\n" * 18_000,
        "User-agent: *\n" * 18_000 + "Disallow: /a\n" * 18_000,
        "User-agent: *\nDisallow: /" + "*a" * 250_000,
        "User-agent: *\n" + "Disallow: /*b\n" * 36_000,
    ],
    ids=["agents", "one agent", "stars", "rules"],
)
def test_no_file_within_the_limit_takes_long(text: str) -> None:
    started = time.perf_counter()
    read = rules(text[:ROBOTS_LIMIT_BYTES])
    read.is_allowed(f"{HOST}/{'a' * 4000}")
    read.quote(f"{HOST}/{'a' * 4000}")
    assert time.perf_counter() - started < 5  # unchecked, the first one takes minutes and gigabytes


PIECES = st.sampled_from(["/", "a", "b", "*", "$", "%61", "%2F", "%2f", "é", "%C3%A9", "?", "=", "index.html", "(", "%", "//"])
PATTERN = st.lists(PIECES, max_size=5).map("".join)
AGENT = st.sampled_from(["us", "US", "*", "other", "Us", ""])
LINE = st.one_of(
    st.builds("{}: {}".format, st.sampled_from(["Disallow", "Allow", "allow", "disalow"]), PATTERN),
    st.builds("{}: {}".format, st.sampled_from(["User-agent", "user-agent", "useragent"]), AGENT),
    st.sampled_from(["", "# note", "Sitemap: http://x.example/s", "Crawl-delay: 5", "Disallow /a", "none", "x: y", "Host: a"]),
)
STEPS = st.sampled_from(["/", "a", "b", "%61", "%2F", "é", "?", "=", "index.html", "(", "c", "$"])
PATH = st.lists(STEPS, max_size=6).map("".join)


@settings(max_examples=400, deadline=None)
@given(lines=st.lists(LINE, max_size=12), path=PATH)
def test_verdict_is_protegos_and_the_quoted_line_agrees(lines: list[str], path: str) -> None:
    url, text = f"{HOST}/{path}", "\n".join(["User-agent: *", *lines])
    read = rules(text, token="us")
    verdict = Protego.parse(text).can_fetch(url, "us")
    assert read.is_allowed(url) is verdict
    line = read.quote(url)
    if not verdict:
        assert line is not None and line in lines
        assert not Protego.parse(f"User-agent: *\n{line}").can_fetch(url, "*")
    elif line is not None:
        assert line in lines and re.match("allow", line, re.IGNORECASE)
        assert Protego.parse(f"User-agent: *\nDisallow: /\n{line}").can_fetch(url, "*")
