"""Responses as the world sends them, and worse: what to send, and where we mean to differ from curl."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import brotli
import zstandard


class Difference(StrEnum):
    """Why our answer is not curl's. Each is a row of the table in docs/decisions/0014."""

    HEADER_BUDGET = "header_budget"
    AMBIGUOUS_FRAMING = "ambiguous_framing"
    MALFORMED_HEAD = "malformed_head"
    INCOMPLETE_CODING = "incomplete_coding"
    CODING_CHAIN = "coding_chain"
    GZIP_MEMBERS = "gzip_members"
    DATA_AFTER_CODING = "data_after_coding"
    UNKNOWN_CODING = "unknown_coding"
    REDIRECT_STATUS = "redirect_status"
    REDIRECT_SPELLING = "redirect_spelling"
    BODY_ACROSS_ORIGINS = "body_across_origins"
    UNSOLICITED_UPGRADE = "unsolicited_upgrade"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`replies` are raw responses by the path below the case's own; the request goes to the first."""

    name: str
    replies: dict[str, bytes]
    method: str = "GET"
    body: str | None = None
    differs: Difference | None = None


SMALL = "naïve café, 日本語\n".encode()
LARGE = b"".join(b"<p class='row'>%d: %s</p>\n" % (row, b"lorem ipsum dolor" * (row % 5)) for row in range(1500))


def _raw_deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(content) + stream.flush()


CODINGS = {
    "plain": ("", bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw-deflate": ("deflate", _raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
}


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    """A response head of these header lines."""
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


def sized(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """A response with a Content-Length."""
    return head(*lines, f"Content-Length: {len(body)}", status=status) + body


def _chunks(body: bytes, *, size: int, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


def _framings(body: bytes, *lines: str) -> dict[str, bytes]:
    chunked = head(*lines, "Transfer-Encoding: chunked")
    return {
        "length": sized(body, *lines),
        "chunked": chunked + _chunks(body, size=1000),
        "tiny-chunks": chunked + _chunks(body, size=max(4, len(body) // 50)),
        "extensions": chunked + _chunks(body, size=4000, extension=b';name="value";x'),
        "trailers": chunked + _chunks(body, size=4000, trailer=b"X-Checksum: 1\r\nExpires: never\r\n"),
        "until-close": head(*lines) + body,
        "http-1.0": head(*lines, version="HTTP/1.0") + body,
    }


def _coded() -> Iterator[Case]:
    for name, (coding, encode) in CODINGS.items():
        lines = ("Content-Type: text/html", *((f"Content-Encoding: {coding}",) if coding else ()))
        for size, content in (("small", SMALL), ("large", LARGE)):
            for framing, raw in _framings(encode(content), *lines).items():
                yield Case(name=f"coding {name} {framing} {size}", replies={"": raw})


def _statuses() -> Iterator[Case]:
    good, bad = (200, 201, 202, 203, 206, 207, 226, 300), (500, 501, 502, 503, 504, 505, 507, 511, 520, 599, 600, 799, 999)
    for status in [*good, *range(400, 419), 421, 422, 425, 429, 431, 451, *bad]:
        yield Case(name=f"status {status}", replies={"": sized(SMALL, status=f"{status} Some Reason")})
    for status in (204, 304):
        yield Case(name=f"status {status} empty", replies={"": head("ETag: x", status=f"{status} Empty")})
        yield Case(name=f"status {status} with length", replies={"": head("Content-Length: 10", status=f"{status} Empty")})
    yield Case(name="status 205", replies={"": sized(b"", status="205 Reset Content")})
    for method in ("HEAD", "PUT", "DELETE", "PATCH", "POST"):
        body = "a=b" if method in ("PUT", "PATCH", "POST") else None
        reply = head("Content-Length: 18") if method == "HEAD" else sized(SMALL)
        yield Case(name=f"method {method}", replies={"": reply}, method=method, body=body)


LOCATIONS = {
    "/CASE/next": None,
    "next": None,
    "./next": None,
    "../CASE/next": None,
    "?next": None,
    "next?a=b&c=%20d": None,
    "//ORIGIN/CASE/next": None,
    "http://ORIGIN/CASE/next": None,
    "HTTP://ORIGIN/CASE/next": None,
    "/CASE/next#part": None,
    "/CASE/a%2Fb": None,
    "/CASE/;params": None,
    "/CASE/%C3%A9": None,
    "/CASE//double//slash": None,
    "/CASE/~tilde/(x)!*'": None,
    "/CASE/a b": Difference.REDIRECT_SPELLING,
    "http:\\\\ORIGIN\\CASE": None,
}


def _redirects() -> Iterator[Case]:
    for status in (301, 302, 303, 307, 308):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
            body = "a=b" if method in ("PUT", "POST") else None
            replies = {"": sized(b"moved", "Location: next", status=f"{status} Moved"), "next": sized(SMALL)}
            yield Case(name=f"redirect {status} {method}", replies=replies, method=method, body=body)
    for status in (300, 305, 306):
        replies = {"": sized(b"choose", "Location: next", status=f"{status} Odd"), "next": sized(SMALL)}
        yield Case(name=f"redirect {status}", replies=replies, differs=Difference.REDIRECT_STATUS)
    for location, differs in LOCATIONS.items():
        replies = {"": sized(b"moved", f"Location: {location}", status="302 Found"), "*": sized(SMALL)}
        yield Case(name=f"location {location}", replies=replies, differs=differs)
    yield Case(name="location missing", replies={"": sized(SMALL, status="302 Found")})
    for count in (2, 5, 6):
        hops = {f"{hop}": sized(b"", f"Location: {hop + 1}", status="302 Found") for hop in range(1, count)}
        first = {"": sized(b"", "Location: 1", status="302 Found")}
        yield Case(name=f"chain of {count}", replies=first | hops | {f"{count}": sized(SMALL)})
    yield Case(name="loop", replies={"": sized(b"", "Location: ?", status="302 Found")})
    for status in (307, 308):
        replies = {"": sized(b"elsewhere", "Location: http://OTHER/CASE/next", status=f"{status} Moved"), "next": sized(SMALL)}
        differs = Difference.BODY_ACROSS_ORIGINS
        yield Case(name=f"body across origins {status}", replies=replies, method="POST", body="a=b", differs=differs)
    replies = {"": sized(b"elsewhere", "Location: http://OTHER/CASE/next", status="302 Moved"), "next": sized(SMALL)}
    yield Case(name="across origins", replies=replies)


CHARSETS = (
    "utf-8 utf-16 utf-16-le utf-32 iso-8859-1 iso-8859-2 iso-8859-5 iso-8859-15 windows-1250 windows-1251 windows-1252 koi8-r "
    "shift_jis euc-jp iso-2022-jp gb18030 gbk big5 euc-kr mac-roman cp437"
).split()


def _charsets() -> Iterator[Case]:
    texts = ("hello, plain", "Žluťoučký kůň", "Привет, мир", "日本語テキスト", "中文网页", "한국어", "naïve café")
    for charset in CHARSETS:
        text = " ".join(text for text in texts if text.encode(charset, "ignore").decode(charset, "ignore") == text)
        encoded = f'<meta charset="{charset}"><p>{text}</p>'.encode(charset)
        declared = f"Content-Type: text/html; charset={charset}"
        yield Case(name=f"charset {charset} in header", replies={"": sized(encoded, declared)})
        yield Case(name=f"charset {charset} in meta", replies={"": sized(encoded, "Content-Type: text/html")})
    for wrong in ("utf-8", "nonsense", "", '"utf-8', "iso-8859-1; charset=utf-16"):
        body = "Привет".encode("windows-1251")
        yield Case(name=f"charset wrong {wrong}", replies={"": sized(body, f"Content-Type: text/plain; charset={wrong}")})
    yield Case(name="every byte", replies={"": sized(bytes(range(256)) * 9, "Content-Type: text/plain")})


def _heads() -> Iterator[Case]:
    fine: dict[str, bytes] = {
        "repeated headers": sized(SMALL, *["Set-Cookie: a=b"] * 20, "X: 1", "X: 2"),
        "empty value": sized(SMALL, "X-Empty:", "X-Blank:   "),
        "no blank after colon": b"HTTP/1.1 200 OK\r\nContent-Length:5\r\n\r\nhello",
        "tabs": b"HTTP/1.1 200 OK\r\nX:\t a \t\r\nContent-Length:\t5\r\n\r\nhello",
        "latin-1 value": sized(SMALL, "X-Name: caf\xe9"),
        "no reason": b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello",
        "no reason, no blank": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        "odd reason": sized(SMALL, status="200 \xe9t\xe9 : ok"),
        "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
        "length zero": sized(b""),
        "leading zeros": b"HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello",
        "early hints": head("Link: </a>", status="103 Early Hints") * 3 + sized(SMALL),
        "continue": head(status="100 Continue") + sized(SMALL),
        "processing": head(status="102 Processing") + sized(SMALL),
        "header of 15 KB": sized(SMALL, "X: " + "a" * 15_000),
        "100 headers": sized(SMALL, *(f"X-{number}: y" for number in range(100))),
        "connection close": sized(SMALL, "Connection: close"),
        "connection nonsense": sized(SMALL, "Connection: banana", "Keep-Alive: timeout=0"),
        "truncated length": head("Content-Length: 100") + b"hello",
        "truncated chunk": head("Transfer-Encoding: chunked") + b"64\r\nhello",
        "no last chunk": head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n",
        "chunk size is no number": head("Transfer-Encoding: chunked") + b"zz\r\nhello\r\n0\r\n\r\n",
        "chunk size overflow": head("Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "chunk upper case": head("Transfer-Encoding: chunked") + b"A\r\nhellohello\r\n0\r\n\r\n",
        "chunk leading zeros": head("Transfer-Encoding: Chunked") + b"0005\r\nhello\r\n000\r\n\r\n",
        "nothing at all": b"",
        "no HTTP": b"hello there, this is no HTTP\r\n\r\n",
        "length negative": head("Content-Length: -5") + b"hello",
        "length is no number": head("Content-Length: five") + b"hello",
        "gzip that is none": sized(b"hello, not gzip", "Content-Encoding: gzip"),
        "br that is none": sized(b"\xff\xff\xff hello, not brotli", "Content-Encoding: br"),
        "zstd that is none": sized(b"hello, not zstd", "Content-Encoding: zstd"),
        "coding of no body": sized(b"", "Content-Encoding: gzip"),
        "lines by LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
        "line without colon": b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 5\r\n\r\nhello",
        "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "four-digit status": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
        "ICY": b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "data after br": sized(brotli.compress(SMALL) + b"more", "Content-Encoding: br"),
        "chunked twice": head("Transfer-Encoding: chunked, chunked") + _chunks(SMALL, size=9),
        "transfer coding unknown": head("Transfer-Encoding: banana") + b"hello",
        "bytes after the end": sized(b"hello") + b"and more that nobody asked for",
        "bytes after a 204": head(status="204 No Content") + b"what for",
        "two responses": sized(b"hello") + sized(b"smuggled"),
        "empty coding": sized(SMALL, "Content-Encoding:"),
        "gzip checksum": sized(gzip.compress(SMALL)[:-8] + bytes(8), "Content-Encoding: gzip"),
    }
    for name, raw in fine.items():
        yield Case(name=f"head {name}", replies={"": raw})
    for coding in ("utf-8", "compress", "aws-chunked", "x-deflate", "gzip;q=1"):
        yield Case(name=f"coding {coding}", replies={"": sized(SMALL, f"Content-Encoding: {coding}")})
    for differs, rows in _ODD.items():
        for name, raw in rows.items():
            yield Case(name=f"odd {name}", replies={"": raw}, differs=differs)


_GZIP = gzip.compress(SMALL)
_ODD: dict[Difference, dict[str, bytes]] = {
    Difference.HEADER_BUDGET: {
        "200 headers": sized(SMALL, *(f"X-{number}: y" for number in range(200))),
        "header of 20 KB": sized(SMALL, "X: " + "a" * 20_000),
        "head of 70 KB": sized(SMALL, *["X: " + "a" * 10_000] * 7),
    },
    Difference.AMBIGUOUS_FRAMING: {
        "equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "length and chunked": head("Content-Length: 3", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        "different lengths": head("Content-Length: 5", "Content-Length: 6") + b"hello!",
        "length twice in one": head("Content-Length: 5, 5") + b"hello",
        "length with a plus": head("Content-Length: +5") + b"hello",
        "gzip as transfer coding": head("Transfer-Encoding: gzip, chunked") + _chunks(_GZIP, size=9),
        "chunk lines by LF": head("Transfer-Encoding: chunked") + b"5\nhello\n0\n\n",
    },
    Difference.MALFORMED_HEAD: {
        "head cut short": b"HTTP/1.1 200 OK\r\nContent-Le",
        "blank before colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 5\r\n\r\nhello",
        "name with a blank": b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 5\r\n\r\nhello",
        "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 5\r\n\r\nhello",
        "lower case version": b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "empty line first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    },
    Difference.INCOMPLETE_CODING: {
        "gzip cut short": sized(_GZIP[:-4], "Content-Encoding: gzip"),
        "deflate cut short": sized(zlib.compress(SMALL)[:-2], "Content-Encoding: deflate"),
        "br cut short": sized(brotli.compress(LARGE)[:-2], "Content-Encoding: br"),
        "zstd cut short": sized(zstandard.compress(LARGE)[:-2], "Content-Encoding: zstd"),
    },
    Difference.CODING_CHAIN: {
        "gzip of gzip": sized(gzip.compress(_GZIP), "Content-Encoding: gzip, gzip"),
        "br of gzip": sized(brotli.compress(_GZIP), "Content-Encoding: gzip", "Content-Encoding: br"),
        "gzip and identity": sized(_GZIP, "Content-Encoding: gzip, identity"),
    },
    Difference.GZIP_MEMBERS: {"two members": sized(gzip.compress(b"hello ") + gzip.compress(b"world"), "Content-Encoding: gzip")},
    Difference.DATA_AFTER_CODING: {
        "zeros after gzip": sized(_GZIP + bytes(40), "Content-Encoding: gzip"),
        "data after deflate": sized(zlib.compress(SMALL) + b"more", "Content-Encoding: deflate"),
    },
    Difference.UNKNOWN_CODING: {"coding none": sized(SMALL, "Content-Encoding: none")},
    Difference.UNSOLICITED_UPGRADE: {
        "switching protocols": head("Upgrade: h2c", "Connection: upgrade", status="101 Switching Protocols") + sized(SMALL),
    },
}


def all_cases() -> list[Case]:
    """Every case, in a fixed order."""
    return [*_coded(), *_statuses(), *_redirects(), *_charsets(), *_heads()]
