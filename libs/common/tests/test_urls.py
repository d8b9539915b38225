"""Reading URLs: odd spellings are refused, never repaired, and what is read is canonical."""

from ipaddress import IPv4Address

import pytest
from common.urls import URL_LIMIT_CHARACTERS, Target, UrlProblem, UrlRefusal, read_redirect, read_url
from hypothesis import given
from hypothesis import strategies as st

CANONICAL = [
    ("http://EXAMPLE.test", "http://example.test", "example.test"),
    ("http://example.test:80/a", "http://example.test/a", "example.test"),
    ("https://example.test:443/", "https://example.test/", "example.test"),
    ("https://example.test:8443/", "https://example.test:8443/", "example.test:8443"),
    ("http://example.test./x", "http://example.test/x", "example.test"),
    ("http://example.test/a/../b/./c?q=%20x#part", "http://example.test/b/c?q=%20x", "example.test"),
    ("http://bücher.test/ü", "http://xn--bcher-kva.test/%C3%BC", "xn--bcher-kva.test"),
    ("http://192.0.2.1/", "http://192.0.2.1/", "192.0.2.1"),
    ("http://[2001:DB8::1]:81/", "http://[2001:db8::1]:81/", "[2001:db8::1]:81"),
    ("http://under_score.test/", "http://under_score.test/", "under_score.test"),
]

REFUSED = [
    ("", UrlProblem.NOT_ABSOLUTE),
    ("/path", UrlProblem.NOT_ABSOLUTE),
    ("//host/path", UrlProblem.NOT_ABSOLUTE),
    ("http:/host", UrlProblem.NOT_ABSOLUTE),
    ("http://", UrlProblem.NOT_ABSOLUTE),
    ("http:///path", UrlProblem.NOT_ABSOLUTE),
    ("file:///etc/passwd", UrlProblem.SCHEME),
    ("gopher://host/", UrlProblem.SCHEME),
    ("javascript:alert(1)", UrlProblem.SCHEME),
    ("http://user@host/", UrlProblem.USER_INFO),
    ("http://a.test@127.0.0.1/", UrlProblem.USER_INFO),
    ("http://127.0.0.1\\@a.test/", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/ b", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\r\nX: y", UrlProblem.UNSAFE_CHARACTER),
    ("http://127.0.0.1\n.a.test/", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u200b", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\x00", UrlProblem.UNSAFE_CHARACTER),
    ("http://%31%32%37.0.0.1/", UrlProblem.HOST),
    ("http://127\u30020\u30020\u30021/", UrlProblem.HOST),
    ("http://\u2460.test/", UrlProblem.HOST),
    ("http://2130706433/", UrlProblem.HOST),
    ("http://0x7f000001/", UrlProblem.HOST),
    ("http://0177.0.0.1/", UrlProblem.HOST),
    ("http://127.1/", UrlProblem.HOST),
    ("http://a..test/", UrlProblem.HOST),
    ("http://-a.test/", UrlProblem.HOST),
    ("http://[::1].a.test/", UrlProblem.HOST),
    ("http://[fe80::1%25eth0]/", UrlProblem.HOST),
    ("http://a.test:0/", UrlProblem.PORT),
    ("http://a.test:99999/", UrlProblem.PORT),
    ("http://a.test:+80/", UrlProblem.PORT),
    ("http://a.test:/", UrlProblem.PORT),
    (f"http://a.test/{'x' * URL_LIMIT_CHARACTERS}", UrlProblem.TOO_LONG),
]


@pytest.mark.parametrize(("text", "canonical", "host"), CANONICAL)
def test_a_plain_url_is_read_into_its_canonical_form(text: str, canonical: str, host: str) -> None:
    target = read_url(text)
    assert isinstance(target, Target)
    assert (target.url, target.host) == (canonical, host)


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=[repr(text)[:50] for text, _ in REFUSED])
def test_an_odd_spelling_is_refused_with_its_reason(text: str, problem: UrlProblem) -> None:
    refusal = read_url(text)
    assert isinstance(refusal, UrlRefusal), refusal
    assert refusal.problem is problem and refusal.detail.endswith(".")


@given(st.text(max_size=60))
def test_reading_never_raises_and_is_stable(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://a.test/{text}"):
        target = read_url(candidate)
        if isinstance(target, Target):
            assert read_url(target.url) == target


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_a_number_is_never_taken_for_an_address(number: int) -> None:
    assert isinstance(read_url(f"http://{number}/"), UrlRefusal)
    assert isinstance(read_url(f"http://{number:#x}/"), UrlRefusal)
    target = read_url(f"http://{IPv4Address(number)}/")
    assert isinstance(target, Target) and target.name == str(IPv4Address(number))


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b?c", "http://a.test/b?c"),
        ("b", "http://a.test/x/b"),
        ("?q=1", "http://a.test/x/y?q=1"),
        ("//b.test/", "http://b.test/"),
        ("https://b.test/", "https://b.test/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("ftp://b.test/", UrlProblem.SCHEME),
        ("file:///etc/passwd", UrlProblem.SCHEME),
        ("http://u@b.test/", UrlProblem.USER_INFO),
        ("\\\\b.test/", UrlProblem.UNSAFE_CHARACTER),
        ("http://0x7f.1/", UrlProblem.HOST),
    ],
)
def test_a_redirect_is_resolved_and_judged_like_any_url(location: str, expected: str | UrlProblem) -> None:
    base = read_url("http://a.test/x/y")
    assert isinstance(base, Target)
    found = read_redirect(location, base=base)
    assert (found.url if isinstance(found, Target) else found.problem) == expected
