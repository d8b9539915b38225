"""Finished fetches as Firecrawl's documents: text in the asked formats, and metadata.

Markup is decoded and never parsed: strangers write it, and a megabyte of nested elements keeps Lexbor, a fast parser, busy
for 26 seconds.
"""

from typing import Any

from common.contracts.fetches import BODY_DEFAULT_BYTES, CharsetSource
from common.contracts.views import FetchView, ResponseView, ServedByKind

from gateway.content import decoded
from gateway.firecrawl.notes import Note
from gateway.http.byte_ranges import ByteRange
from gateway.store_client import StoredContent

TEXT_LIMIT_BYTES = BODY_DEFAULT_BYTES
WHOLE_HTML = "html is the document as it was received: nothing was removed from it."
BYTE_ORDER_MARK = "\ufeff"


class NoText(Exception):
    """The content is nothing that a document can hold. The text says why, for callers."""


def document(view: FetchView, response: ResponseView, stored: StoredContent) -> dict[str, Any]:
    """The document of a fetch that has succeeded. Takes as long as decoding takes. Raises NoText."""
    note = Note.read(view.attrs)
    text = _text(view, response, stored)
    made: dict[str, Any] = {format: text for format in note.formats}
    if "html" in note.formats:
        made["warning"] = WHOLE_HTML
    return made | {"metadata": _metadata(view, response, note)}


def _text(view: FetchView, response: ResponseView, stored: StoredContent) -> str:
    if not stored.size_bytes:
        return ""
    elsewhere = f"Read it at /v1/fetches/{view.id}/content."
    if stored.size_bytes > TEXT_LIMIT_BYTES:
        raise NoText(f"The body has {stored.size_bytes} bytes, and a document {TEXT_LIMIT_BYTES} at most. {elsewhere}")
    if response.charset is None:
        raise NoText(f"The body is not text. {elsewhere}")
    content = b"".join(decoded(stored.body, ByteRange(0, stored.size_bytes - 1)))
    try:
        text = content.decode(response.charset, errors="replace")
    except LookupError as error:
        raise NoText(f"The charset {response.charset} is not known. {elsewhere}") from error
    return text.removeprefix(BYTE_ORDER_MARK) if response.charset_source is CharsetSource.BOM else text


def _metadata(view: FetchView, response: ResponseView, note: Note) -> dict[str, Any]:
    served = view.served_by.kind if view.served_by else ServedByKind.LIVE
    is_cached = served in (ServedByKind.CACHE, ServedByKind.NOT_MODIFIED)
    return {
        "sourceURL": note.source_url or view.url,
        "url": response.final_url,
        "statusCode": response.status,
        "contentType": response.headers.get("content-type"),
        "scrapeId": str(view.id),
        "cacheState": "hit" if is_cached else "miss",
        "creditsUsed": 0,
    }
