"""Content: exact bytes, whole or in part, described without being read, and never rendered by a browser on our origin."""

import hashlib
import tracemalloc
from typing import Any

import httpx2
import pytest
import zstandard
from common.contracts.fetches import FetchStatus
from common.ids import new_fetch_id
from gateway_words import assert_problem

from gateway.content import CHUNK_BYTES, decoded
from gateway.http.byte_ranges import ByteRange, RangeNotSatisfiable, read_range

TEXT = b"0123456789"
HTML = b"<!doctype html><script>alert(document.domain)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
LARGE = bytes(range(256)) * 20_000
INERT = {
    "content-type": "application/octet-stream",
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}


def _etag(body: bytes) -> str:
    return f'"sha256:{hashlib.sha256(body).hexdigest()}"'


@pytest.mark.parametrize("body", [HTML, SVG, LARGE])
@pytest.mark.parametrize("part", [{}, {"Range": "bytes=0-20"}])
async def test_content_is_exact_and_never_rendered(
    client: httpx2.AsyncClient, gateway: Any, body: bytes, part: dict[str, str]
) -> None:
    fetch_id = gateway.store.keep(body)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers=part)
    assert answer.content == (body[:21] if part else body)
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["etag"] == _etag(body) and answer.headers["accept-ranges"] == "bytes"
    assert INERT.items() <= dict(answer.headers).items()
    assert answer.headers["content-disposition"] == f'attachment; filename="{fetch_id}.bin"'


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=2-4", 2, 4), ("bytes=7-", 7, 9), ("bytes=7-99", 7, 9), ("bytes=-3", 7, 9),
     ("bytes=-99", 0, 9), ("Bytes=1-2", 1, 2), ("bytes= 1-2 ,", 1, 2), ("bytes=0-" + "9" * 30, 0, 9)],
)
async def test_a_range_is_a_part_that_says_where_it_is(
    client: httpx2.AsyncClient, gateway: Any, asked: str, first: int, last: int
) -> None:
    fetch_id = gateway.store.keep(TEXT)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"Range": asked})
    assert answer.status_code == 206 and answer.content == TEXT[first:last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/10"
    assert answer.headers["etag"] == _etag(TEXT)


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=4-2", "bytes=-", "bytes=a-b", "bytes", "bytes=", "bytes=1--2", "bytes=+1-2", "lines=0-1",
              "bytes=" + "1" * 200 + "-", "bytes=\N{ARABIC-INDIC DIGIT ONE}-".encode().decode("latin-1")]
)
async def test_ranges_that_are_not_one_of_bytes_are_ignored(client: httpx2.AsyncClient, gateway: Any, asked: str) -> None:
    fetch_id = gateway.store.keep(TEXT)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"Range": asked.encode("latin-1")})
    assert answer.status_code == 200 and answer.content == TEXT and "content-range" not in answer.headers


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-11", "bytes=-0"])
async def test_a_range_outside_the_content_is_refused_with_its_size(
    client: httpx2.AsyncClient, gateway: Any, asked: str
) -> None:
    fetch_id = gateway.store.keep(TEXT)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"Range": asked})
    problem = assert_problem(answer, 416, "range-not-satisfiable")
    assert problem["instance"] == f"/v1/fetches/{fetch_id}/content"
    assert answer.headers["content-range"] == "bytes */10" and "etag" not in answer.headers


@pytest.mark.parametrize(
    ("validator", "status"),
    [("{}", 206), ("W/{}", 200), ('"other"', 200), ("Wed, 25 Nov 2026 00:00:00 GMT", 200)],
)
async def test_a_range_of_what_the_caller_had_before(
    client: httpx2.AsyncClient, gateway: Any, validator: str, status: int
) -> None:
    fetch_id = gateway.store.keep(TEXT)
    headers = {"Range": "bytes=8-", "If-Range": validator.format(_etag(TEXT))}
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers=headers)
    assert answer.status_code == status and answer.content == (TEXT[8:] if status == 206 else TEXT)


async def test_a_range_that_is_out_of_date_is_not_refused(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id = gateway.store.keep(TEXT)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"Range": "bytes=50-", "If-Range": '"other"'})
    assert answer.status_code == 200 and answer.content == TEXT


@pytest.mark.parametrize("tag", ["{}", "W/{}", '"other", {}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_content_that_the_caller_has_is_not_sent_again(
    client: httpx2.AsyncClient, gateway: Any, tag: str, method: str
) -> None:
    fetch_id = gateway.store.keep(TEXT)
    headers = {"If-None-Match": tag.format(_etag(TEXT)), "Range": "bytes=50-"}
    answer = await client.request(method, f"/v1/fetches/{fetch_id}/content", headers=headers)
    assert answer.status_code == 304 and answer.content == b"" and answer.headers["etag"] == _etag(TEXT)
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("tag", ['"other"', '"a,*,b"', ""])
async def test_content_that_the_caller_has_not_is_sent(client: httpx2.AsyncClient, gateway: Any, tag: str) -> None:
    fetch_id = gateway.store.keep(TEXT)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"If-None-Match": tag})
    assert answer.status_code == 200 and answer.content == TEXT


@pytest.mark.parametrize("body", [b"", TEXT, LARGE])
async def test_a_description_has_the_same_headers_and_reads_nothing(
    client: httpx2.AsyncClient, gateway: Any, body: bytes
) -> None:
    path = f"/v1/fetches/{gateway.store.keep(body)}/content"
    whole = await client.get(path)
    gateway.store.asked.clear()
    described = await client.head(path, headers={"Range": "bytes=0-1"})
    assert described.status_code == 200 and described.content == b""
    assert dict(described.headers) | {"date": ""} == dict(whole.headers) | {"date": ""}
    assert [asked[1] for asked in gateway.store.asked] == [f"/internal/v1{path.removeprefix('/v1').removesuffix('/content')}"]


@pytest.mark.parametrize(
    ("status", "answered"), [(FetchStatus.FAILED, 404), (FetchStatus.CANCELLED, 404), (FetchStatus.RUNNING, 409), (None, 404)]
)
async def test_what_has_no_content_is_described_as_it_is_answered(
    client: httpx2.AsyncClient, gateway: Any, status: FetchStatus | None, answered: int
) -> None:
    fetch_id = gateway.store.keep(None, status=status) if status else new_fetch_id()
    for method in ("GET", "HEAD"):
        assert (await client.request(method, f"/v1/fetches/{fetch_id}/content")).status_code == answered


async def test_an_empty_body_is_empty_and_has_no_parts(client: httpx2.AsyncClient, gateway: Any) -> None:
    path = f"/v1/fetches/{gateway.store.keep(b'')}/content"
    answer = await client.get(path)
    assert answer.status_code == 200 and answer.content == b"" and answer.headers["etag"] == _etag(b"")
    assert (await client.get(path, headers={"Range": "bytes=-5"})).status_code == 200
    refused = await client.get(path, headers={"Range": "bytes=0-"})
    assert_problem(refused, 416, "range-not-satisfiable")
    assert refused.headers["content-range"] == "bytes */0"


async def test_ranges_of_a_large_content_are_exact_at_every_border(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id = gateway.store.keep(LARGE)
    end = len(LARGE) - 1
    for first, last in ((0, CHUNK_BYTES), (1024 * 1024 - 1, 1024 * 1024), (3_000_001, 3_900_000), (end, end)):
        answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"Range": f"bytes={first}-{last}"})
        assert answer.status_code == 206 and answer.content == LARGE[first:last + 1]


def test_the_end_of_a_large_content_is_decoded_in_little_memory() -> None:
    size_bytes = 64 * 1024 * 1024
    body = zstandard.compress(bytes(size_bytes))
    tracemalloc.start()
    assert b"".join(decoded(body, ByteRange(size_bytes - 10, size_bytes - 1))) == bytes(10)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1024 * 1024


def test_ranges_are_read_as_the_standard_has_it() -> None:
    # RFC 9110 section 14.1.2: the examples for a representation of 10000 bytes.
    for given, first, last in (("0-499", 0, 499), ("500-999", 500, 999), ("-500", 9500, 9999), ("9500-", 9500, 9999)):
        assert read_range(f"bytes={given}", size_bytes=10_000) == ByteRange(first, last)
    assert read_range("bytes=0-0,-1", size_bytes=10_000) is None and read_range(None, size_bytes=10_000) is None
    with pytest.raises(RangeNotSatisfiable):
        read_range("bytes=10000-", size_bytes=10_000)
