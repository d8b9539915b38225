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
    ("HTTP://BÜCHER.test./", "http://xn--bcher-kva.test/", "xn--bcher-kva.test"),
    ("http://日本.test/", "http://xn--wgv71a.test/", "xn--wgv71a.test"),
    (f"http://{'a' * 63}.test/", f"http://{'a' * 63}.test/", f"{'a' * 63}.test"),
    (f"http://{'a.' * 126}b/", f"http://{'a.' * 126}b/", f"{'a.' * 126}b"),
    ("http://1.2.3.test/", "http://1.2.3.test/", "1.2.3.test"),
    ("http://a.test:65535/", "http://a.test:65535/", "a.test:65535"),
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
    ("http://ü%2etest/", UrlProblem.HOST),
    ("http://127\u30020\u30020\u30021/", UrlProblem.HOST),
    ("http://a\u3002test/", UrlProblem.HOST),
    ("http://a\uff0etest/", UrlProblem.HOST),
    ("http://a\uff61test/", UrlProblem.HOST),
    ("http://straße.test/", UrlProblem.HOST),
    ("http://\u1e9e.test/", UrlProblem.HOST),
    ("http://ςa.test/", UrlProblem.HOST),
    ("http://\u0661.test/", UrlProblem.HOST),
    ("http://\u0661a.test/", UrlProblem.HOST),
    ("http://\ufb01.test/", UrlProblem.HOST),
    ("http://loca\u017f.test/", UrlProblem.HOST),
    ("http://a\u3164b.test/", UrlProblem.HOST),
    ("http://b\u0345b.test/", UrlProblem.HOST),
    ("http://b\u0488b.test/", UrlProblem.HOST),
    ("http://a\u0300.test/", UrlProblem.HOST),
    ("http://\u2f00.test/", UrlProblem.HOST),
    ("http://\u0640a.test/", UrlProblem.HOST),
    ("http://xn--a.test/", UrlProblem.HOST),
    ("http://a%2etest/", UrlProblem.HOST),
    ("http://a.test\u2028/", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test\u2029/", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u2029", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u2028", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/ü\\x", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u00ad", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u0085", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\u2003", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\ud800", UrlProblem.UNSAFE_CHARACTER),
    ("http://a.test/\x7f", UrlProblem.UNSAFE_CHARACTER),
    ("http://93.184.216.34./", UrlProblem.HOST),
    ("http://93.184.216.034/", UrlProblem.HOST),
    ("http://a.test.12/", UrlProblem.HOST),
    ("http://a.test.0xf/", UrlProblem.HOST),
    ("http://[v1.x]/", UrlProblem.HOST),
    ("http://[fe80::1%25eth0]:80/", UrlProblem.HOST),
    ("http://[fe80::1%1]/", UrlProblem.HOST),
    (f"http://{'a' * 64}.test/", UrlProblem.HOST),
    (f"http://{'a.' * 126}bc/", UrlProblem.HOST),
    ("http://a.test../", UrlProblem.HOST),
    ("http://a-.test/", UrlProblem.HOST),
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
    ("http://a.test:65536/", UrlProblem.PORT),
    ("http://a.test:080/", UrlProblem.PORT),
    ("http://a.test:8\u0660/", UrlProblem.HOST),
    ("http://a.test:+80/", UrlProblem.PORT),
    ("http://a.test:/", UrlProblem.PORT),
    (f"http://a.test/{'x' * URL_LIMIT_CHARACTERS}", UrlProblem.TOO_LONG),
    (f"http://a.test/#{'x' * URL_LIMIT_CHARACTERS}", UrlProblem.TOO_LONG),
    (f"http://a.test/{'ü' * (URL_LIMIT_CHARACTERS // 4)}", UrlProblem.TOO_LONG),
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


@pytest.mark.parametrize(
    "host",
    ["%31.test", "ü%2etest", "a\u3002test", "\u2460.test", "\ufb01.test", "\u0661a.test", "straße.test", "[v1.x]", "[::1%251]"],
)
def test_an_ambiguous_spelling_is_refused_before_any_parser_sees_it(host: str) -> None:
    refusal = read_url(f"http://{host}/")
    assert isinstance(refusal, UrlRefusal) and "ambiguous" in refusal.detail


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
        ("///127.0.0.1/", UrlProblem.NOT_ABSOLUTE),
        ("//", UrlProblem.NOT_ABSOLUTE),
        ("//b.test:080/", UrlProblem.PORT),
        ("//b.test:0:/", UrlProblem.PORT),
        ("/..//b.test/", "http://a.test//b.test/"),
        ("/a b", UrlProblem.UNSAFE_CHARACTER),
        ("/a\tb", UrlProblem.UNSAFE_CHARACTER),
        ("\x01/b", UrlProblem.UNSAFE_CHARACTER),
        ("ü", "http://a.test/x/%C3%BC"),
        (f"/{'x' * URL_LIMIT_CHARACTERS}", UrlProblem.TOO_LONG),
    ],
)
def test_a_redirect_is_resolved_and_judged_like_any_url(location: str, expected: str | UrlProblem) -> None:
    base = read_url("http://a.test/x/y")
    assert isinstance(base, Target)
    found = read_redirect(location, base=base)
    assert (found.url if isinstance(found, Target) else found.problem) == expected
