"""What a body is: its media type by its bytes, and the charset that decodes it."""

import codecs
import time
from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import CharsetSource
from hypothesis import given
from hypothesis import strategies as st

from fetcher.perform import perform
from fetcher.text_facts import SAMPLE_BYTES, TextFacts, detect_media_type, read_text_facts

BOM, HEADER, META, DETECTOR = CharsetSource
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(20)
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
JAPANESE = "これは日本語の文章です。文字コードを判定するための長い文章が必要です。" * 20


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"<!DOCTYPE html><html>", "text/html"),
        (b" \r\n\t<!doctype HTML>", "text/html"),
        (b"<html lang=en>", "text/html"),
        (b"<!-- a comment --><p>", "text/html"),
        (b"<p>hello", "text/html"),
        (b"<paragraph>", "text/plain"),
        (b"<a href=x>", "text/html"),
        (codecs.BOM_UTF8 + b"<html>", "text/html"),
        (codecs.BOM_UTF16_LE + "<html>".encode("utf-16-le"), "text/html"),
        (codecs.BOM_UTF16_BE + "hello".encode("utf-16-be"), "text/plain"),
        (b'<?xml version="1.0"?><rss>', "text/xml"),
        (b'{"a": 1}', "application/json"),
        (b' [\n {"a": 1}]', "application/json"),
        (b"[1, 2]", "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b"{ not json }", "text/plain"),
        (b"[section]\nname=value", "text/plain"),
        (b"hello", "text/plain"),
        ("naïve".encode(), "text/plain"),
        (PNG, "image/png"),
        (b"GIF89a" + bytes(10), "image/gif"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf"),
        (b"%PDF-1.7\ntext only", "application/pdf"),
        (b"PK\x03\x04\x14\x00\x00\x00", "application/zip"),
        (b"\x1f\x8b\x08\x00" + bytes(10), "application/gzip"),
        (b"\x00\x01\x02\x03 nothing known", None),
    ],
)
def test_media_type_by_the_first_bytes(content: bytes, media_type: str | None) -> None:
    assert detect_media_type(content) == media_type


@pytest.mark.parametrize(
    ("content", "content_type", "charset", "source"),
    [
        (codecs.BOM_UTF8 + b"hello", "text/plain; charset=iso-8859-1", "utf-8", BOM),
        (codecs.BOM_UTF16_LE + "hello".encode("utf-16-le"), "text/html", "utf-16-le", BOM),
        ("naïve".encode(), "text/html; charset=UTF-8", "utf-8", HEADER),
        (b"na\xefve", "text/html; charset=ISO-8859-1", "windows-1252", HEADER),  # WHATWG Encoding section 4.2
        (RUSSIAN.encode("koi8-r"), 'text/plain; charset="koi8-r"', "koi8-r", HEADER),
        (JAPANESE.encode("shift_jis"), "text/html; charset=Shift_JIS", "ms932", HEADER),
        (b'<meta charset="windows-1251">' + RUSSIAN.encode("cp1251"), "text/html", "windows-1251", META),
        (b'<?xml version="1.0" encoding="ISO-8859-2"?><a>\xb3</a>', "application/xml", "iso-8859-2", META),
        (b'<meta charset="windows-1251">' + RUSSIAN.encode("cp1251"), "text/html; charset=nonsense", "windows-1251", META),
        (b'<meta charset="windows-1251">' + RUSSIAN.encode("cp1251"), "text/html; charset=utf-8", "windows-1251", META),
        (b'<meta charset="utf-8">' + RUSSIAN.encode("cp1251"), "text/html; charset=utf-8", "windows-1251", DETECTOR),
        (b'{"meta": "<meta charset=windows-1251>"}', "application/json", "utf-8", DETECTOR),
        ("naïve".encode(), None, "utf-8", DETECTOR),
        ("naïve".encode(), "application/octet-stream", "utf-8", DETECTOR),
        (b"hello", "text/plain", "utf-8", DETECTOR),
        (RUSSIAN.encode("cp1251"), "text/plain", "windows-1251", DETECTOR),
        (JAPANESE.encode("euc-jp"), "text/plain", "euc-jp", DETECTOR),
        (PNG, "image/png", None, None),
        (PNG, "text/html; charset=utf-8", None, None),
        (b"hello", "image/png", None, None),
        (b'{"a": 1}', "application/vnd.api+json", "utf-8", DETECTOR),
        (b"<svg/>", "image/svg+xml; charset=utf-8", "utf-8", HEADER),
    ],
)
async def test_charset(content: bytes, content_type: str | None, charset: str | None, source: CharsetSource | None) -> None:
    facts = await read_text_facts(content, content_type=content_type)
    assert (facts.charset, facts.charset_source) == (charset, source)
    if charset is not None:
        content.decode(charset)


async def test_character_that_the_sample_cuts_is_no_fault() -> None:
    content = b"x" * (SAMPLE_BYTES - 1) + "é".encode() * 10
    facts = await read_text_facts(content, content_type="text/plain; charset=utf-8")
    assert (facts.charset, facts.charset_source) == ("utf-8", HEADER)
    cut = await read_text_facts(b"hello \xc3", content_type="text/plain; charset=utf-8")
    assert cut.charset_source is not HEADER


@given(st.binary(min_size=1, max_size=300), st.text(max_size=40) | st.none())
async def test_no_bytes_and_no_header_break_it(content: bytes, content_type: str | None) -> None:
    assert isinstance(await read_text_facts(content, content_type=content_type), TextFacts)


async def test_page_costs_next_to_nothing() -> None:
    page = (b"<!doctype html><meta charset=utf-8>" + "<p>naïve café</p>".encode() * 600)[:10_000].rpartition(b"<")[0]
    started_at = time.perf_counter()
    for _ in range(200):
        await read_text_facts(page, content_type="text/html; charset=utf-8")
    seconds = (time.perf_counter() - started_at) / 200
    print(f"\ntext facts of a 10 kB page: {seconds * 1e6:.0f} µs")
    assert seconds < 0.001


async def test_facts_are_in_the_response_and_the_bytes_stay(serve, make_client, command) -> None:
    content = b'<html><meta charset="windows-1251">' + RUSSIAN.encode("cp1251")

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=content, headers={"Content-Type": "text/html"})

    base = await serve({"/": answer})
    head: Any = (await perform(command(base), client=make_client())).outcome.response
    assert (head.media_type, head.detected_media_type) == ("text/html", "text/html")
    assert (head.charset, head.charset_source, head.coding) == ("windows-1251", META, None)
    nothing: Any = (await perform(command(base, method="HEAD"), client=make_client())).outcome.response
    assert (nothing.media_type, nothing.detected_media_type, nothing.charset) == ("text/html", None, None)
