"""What a body is, by its first bytes: its media type, and the charset that decodes it if it is text. Changes nothing.

The charset is the first that is known and fits, of: a byte order mark, the header, the markup, a detector (WHATWG Encoding
and HTML section 13.2.3.1, through w3lib; then charset-normalizer). Markup is recognised as WHATWG MIME Sniffing says
(section 7.1), everything binary by the `filetype` library.
"""

import asyncio
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import filetype
from charset_normalizer import from_bytes
from common.contracts.fetches import CharsetSource
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, read_bom, resolve_encoding

from fetcher.egress.headers import media_type as declared_media_type

SAMPLE_BYTES = 64 * 1024
"""What a charset is tried on."""
DETECTOR_SAMPLE_BYTES = 16 * 1024
"""What the detector reads: on more it takes tens of milliseconds and is no surer."""
SIGNATURE_BYTES = 4096
MARKUP_BYTES = 4096
RESOURCE_HEADER_BYTES = 1445
"""WHATWG MIME Sniffing section 5.2: what decides whether a resource is text."""
GENERIC_MEDIA_TYPES = frozenset((None, "application/octet-stream", "unknown/unknown", "application/unknown", "*/*"))
"""Declared types that say nothing (WHATWG MIME Sniffing section 5.1)."""

_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(
    rb"\s*<(?:(!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)[\s>]|(\?xml))",
    re.IGNORECASE,
)
_JSON = re.compile(rb'\s*(?:\{\s*["}]|\[\s*(?:["\[{\]\d-]|true\b|false\b|null\b))')
_TEXT_TYPES = re.compile(r"text/.+|.+\+(?:xml|json)|application/(?:json|xml|.*javascript|.*ecmascript|.*json.*|sql|yaml|toml)")
_MARKUP_TYPES = re.compile(r"text/html|text/xml|application/xml|.+\+xml")
_header_encoding = lru_cache(maxsize=256)(http_content_type_encoding)
_WEB_CODECS = [
    *("utf_8", "gb18030", "big5", "euc_jp", "iso2022_jp", "cp932", "euc_kr", "koi8_r", "koi8_u", "cp866", "cp874"),
    *(f"cp125{number}" for number in range(9)),
    *(f"iso8859_{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
]
"""The encodings of the WHATWG Encoding standard; nobody serves the others, and the detector likes to find them."""
_NAMES = (
    (re.compile(r"cp(125\d|874)"), r"windows-\1"),
    (re.compile(r"iso8859-"), "iso-8859-"),
    (re.compile(r"iso2022_"), "iso-2022-"),
    (re.compile(r"cp932"), "ms932"),
)
"""Python's names of codecs, and those by which the rest of the world knows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFacts:
    """`media_type` is None when the bytes show none; charset and source are None when the body is not text, or fits nothing."""

    media_type: str | None
    charset: str | None = None
    charset_source: CharsetSource | None = None


async def read_text_facts(content: bytes | bytearray, *, content_type: str | None) -> TextFacts:
    """The facts about a body that is not empty; `content_type` is the declared header, None when there is none.

    Takes a few microseconds unless the charset must be guessed, which is done in a thread.
    """
    sample, is_whole = bytes(memoryview(content)[:SAMPLE_BYTES]), len(content) <= SAMPLE_BYTES
    detected = detect_media_type(sample)
    declared = declared_media_type(content_type)
    read_as = detected if declared in GENERIC_MEDIA_TYPES else declared
    if not is_text(read_as) or not (detected is None or is_text(detected)):
        return TextFacts(media_type=detected)
    charset, source = _declared_charset(sample, content_type=content_type, media_type=read_as, is_whole=is_whole)
    if charset is None:
        charset = await asyncio.to_thread(_guess, sample[:DETECTOR_SAMPLE_BYTES])
        source = CharsetSource.DETECTOR if charset else None
    return TextFacts(media_type=detected, charset=charset, charset_source=source)


def detect_media_type(sample: bytes) -> str | None:
    """The media type that the first bytes show; `text/plain` when they show nothing but text, None when nothing is known."""
    head = sample[:RESOURCE_HEADER_BYTES]
    bom, _ = read_bom(head)
    if bom is not None:
        head = head.decode(bom, "ignore").encode()
    markup = _MARKUP.match(head.removeprefix(codecs.BOM_UTF8))
    if markup is not None:
        return "text/xml" if markup.group(2) else "text/html"
    if bom is None and (_BINARY.search(head) or head.startswith(b"%")):
        kind = filetype.guess_mime(sample[:SIGNATURE_BYTES])
        return str(kind) if kind else None if _BINARY.search(head) else "text/plain"
    return "application/json" if _JSON.match(head.removeprefix(codecs.BOM_UTF8)) else "text/plain"


@lru_cache(maxsize=256)
def is_text(media_type: str | None) -> bool:
    """Is a body of this media type text, which a charset decodes?"""
    return media_type is not None and _TEXT_TYPES.fullmatch(media_type) is not None


def _declared_charset(
    sample: bytes, *, content_type: str | None, media_type: str | None, is_whole: bool
) -> tuple[str | None, CharsetSource | None]:
    bom, _ = read_bom(sample)
    if bom is not None:
        return _known_name(bom), CharsetSource.BOM
    for codec, source in _candidates(sample, content_type=content_type, media_type=media_type):
        if codec is not None and _fits(sample, codec, is_whole=is_whole):
            return _known_name(codec), source
    return None, None


def _candidates(
    sample: bytes, *, content_type: str | None, media_type: str | None
) -> Iterator[tuple[str | None, CharsetSource]]:
    yield _header_encoding(content_type), CharsetSource.HEADER
    if _MARKUP_TYPES.fullmatch(media_type or ""):
        yield html_body_declared_encoding(sample[:MARKUP_BYTES]), CharsetSource.META
    yield "utf-8", CharsetSource.DETECTOR


def _fits(sample: bytes, codec: str, *, is_whole: bool) -> bool:
    """Does it decode every byte? A character that the end of the sample cuts is no fault."""
    if codec == "utf-8" and sample.isascii():  # most of what there is, told without decoding it
        return True
    try:
        codecs.getincrementaldecoder(codec)().decode(sample, is_whole)
    except (UnicodeError, LookupError):
        return False
    return True


def _guess(sample: bytes) -> str | None:
    best = from_bytes(sample, cp_isolation=_WEB_CODECS).best()
    return _known_name(resolve_encoding(best.encoding) or best.encoding) if best else None


@lru_cache(maxsize=256)
def _known_name(codec: str) -> str:
    """The name that the world knows a codec of Python's by."""
    name = codecs.lookup(codec).name
    for pattern, known in _NAMES:
        name = pattern.sub(known, name)
    return name.replace("_", "-")
