"""Any text and any grammar-made URL: reading never raises, and what is accepted means the same to every parser there is."""

import unicodedata
from urllib.parse import urljoin, urlsplit

import httpx2
from common.urls import UNSAFE_CATEGORIES, URL_LIMIT_CHARACTERS, Target, UrlRefusal, read_redirect, read_url
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

ODD = (
    "@ : / \\ # ? % %2e %40 %00 . .. // [ ] ; & = + - _ * | ^ < > { } ' \" ` ~ ! $ , "
    "\u3002 \uff0e \uff61 \uff20 \uff03 \uff0f \u2044 \u2100 \u2460 \u0661 \u00df \u1e9e \u03c2 \u017f \u212a \u0130 \u0131 "
    "\u00ad \u200b \u200d \u202e \ufeff \u3164 \u115f \u034f \u0300 \ud800 \x00 \x1f \x7f \x85 \t \r \n \u2028 \u2003"
).split(" ") + [" "]
HOSTS = (
    "a.test EXAMPLE.com www.example.com. localhost 127.0.0.1 127.1 0x7f.1 2130706433 0177.0.0.1 1.2.3.4.5 [::1] [2606:4700::1] "
    "[::ffff:1.2.3.4] [fe80::1%25eth0] [v1.x] xn--bcher-kva.test xn--a.test bücher.test BÜCHER.test straße.test 日本.test "
    "under_score.test -a.test a-.test a..b a,b.test 1.test test.1 test.0x1 93.184.216.34 93.184.216.34."
).split()

_piece = st.one_of(st.sampled_from(ODD), st.sampled_from(HOSTS), st.text(max_size=4))
_host = st.one_of(
    st.sampled_from(HOSTS),
    st.lists(st.one_of(st.sampled_from(HOSTS), _piece), min_size=1, max_size=4).map("".join),
    st.ip_addresses().map(lambda address: f"[{address}]" if address.version == 6 else str(address)),
)
_scheme = st.sampled_from("http:// https:// HTTP:// http:/ http: // http:/// http:\\\\ ftp:// file:// http%3a//".split())
_port = st.one_of(
    st.just(""), st.integers(-1, 99999).map(lambda port: f":{port}"), st.sampled_from(":,:080,:+80,:8 0,:８０,:80:80".split(","))
)
_path = st.sampled_from(["/", "?", "#", "/a/../b", "/./", "?u=http://u:p@x", "/a@b", "/a:b"])
_tail = st.lists(st.one_of(_path, _piece), max_size=4)
URLS = st.tuples(_scheme, st.sampled_from(["", "", "", "@", "u@", "u:p@"]), _host, _port, _tail.map("".join)).map("".join)
LOCATIONS = st.one_of(
    URLS, st.text(max_size=30), st.lists(_piece, max_size=5).map("".join), _host.map("//{}/x".format), _tail.map("".join)
)
BASE = read_url("http://base.test/x/y?z")


def _assert_means_one_thing(target: Target) -> None:
    """The canonical URL names one host and port to every parser, and holds nothing that could be read in two ways."""
    url = target.url
    assert len(url) <= URL_LIMIT_CHARACTERS and url.isascii() and url.isprintable()
    assert not any(unicodedata.category(character) in UNSAFE_CATEGORIES or character == "\\" for character in url)
    assert "#" not in url and target.name == target.name.lower() and not target.name.endswith(".")
    authority = url.partition("://")[2].replace("?", "/").partition("/")[0]
    assert not set(authority) & set("@%") and ("[" in authority) == (":" in target.name)
    split, theirs, yarls = urlsplit(url), httpx2.URL(url), URL(url, encoded=True)
    default = {"http": 80, "https": 443}[target.scheme]
    assert split.hostname == theirs.raw_host.decode() == yarls.raw_host == target.name
    assert (split.port or default) == (theirs.port or default) == yarls.port == target.port
    assert split.scheme == theirs.scheme == yarls.scheme == target.scheme
    assert not any((split.username, split.password, theirs.userinfo, yarls.raw_user, yarls.raw_password))
    assert read_url(url) == target, "canonical is canonical"


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.text(), URLS))
@example("http://a.test/" + "ü" * 2000)
@example("http://[2001:DB8:0:0:0:0:0:10]:80/")
def test_reading_any_text_gives_a_refusal_or_one_meaning(text: str) -> None:
    found = read_url(text)
    assert isinstance(found, UrlRefusal | Target)
    if isinstance(found, Target):
        authority = text.partition("://")[2].replace("?", "/").replace("#", "/").partition("/")[0]
        assert "@" not in authority and ("[" in authority) == (":" in found.name)
        _assert_means_one_thing(found)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(["http", "https"]), st.sampled_from(HOSTS), _tail.map("".join))
def test_a_plain_host_keeps_its_meaning_whatever_follows(scheme: str, host: str, tail: str) -> None:
    found, alone = read_url(f"{scheme}://{host}/{tail}"), read_url(f"{scheme}://{host}/")
    if isinstance(found, Target):
        assert isinstance(alone, Target) and found.origin == alone.origin
        _assert_means_one_thing(found)


@settings(max_examples=600, deadline=None)
@given(LOCATIONS)
@example("///127.0.0.1/")
@example("/..//b.test/")
def test_a_redirect_gives_a_refusal_or_one_meaning(location: str) -> None:
    assert isinstance(BASE, Target)
    found = read_redirect(location, base=BASE)
    assert isinstance(found, UrlRefusal | Target)
    if isinstance(found, Target):
        _assert_means_one_thing(found)
        joined = read_url(urljoin(BASE.url, location))
        assert isinstance(joined, Target) and joined.origin == found.origin, "urllib reads the same origin"
