"""Firecrawl's API: pages and batches as its clients expect them, and everything that is not made here refused by name."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest
from common.contracts.fetches import CharsetSource, ErrorType
from common.contracts.views import ServedBy, ServedByKind
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM, INGESTING_HASH
from firecrawl_words import PAGE, Ended, Fetching, failed, page
from redis.asyncio import Redis

from gateway.firecrawl.batches import DATA_PAGE_CHARACTERS
from gateway.firecrawl.documents import TEXT_LIMIT_BYTES

RAW = {"url": "http://a.test/", "formats": ["rawHtml"]}


def _refused(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["success"] is False and document.keys() <= {"success", "error", "code"}
    return str(document["error"])


async def test_a_page_is_fetched_and_described(client: httpx2.AsyncClient, fetching: Fetching) -> None:
    answer = await client.post("/v2/scrape", json=RAW | {"headers": {"X-A": "1"}, "timeout": 5000, "maxAge": 60_000})
    assert answer.status_code == 200 and answer.json()["success"] is True
    [fetch] = fetching.seen
    assert answer.json()["data"] == {
        "rawHtml": PAGE,
        "metadata": {
            "sourceURL": "http://a.test/",
            "url": "http://a.test/end",
            "statusCode": 200,
            "contentType": "text/html; charset=x",
            "scrapeId": str(fetch.id),
            "cacheState": "miss",
            "creditsUsed": 0,
        },
    }
    request = fetch.request
    assert (request.headers, request.timeout_seconds, request.max_age_seconds) == ({"X-A": "1"}, 5, 60)
    assert request.expires_at is not None and (request.expires_at - fetch.accepted_at).total_seconds() == 5


async def test_html_is_the_whole_document_and_says_so(client: httpx2.AsyncClient, fetching: Fetching) -> None:
    data = (await client.post("/v2/scrape", json=RAW | {"formats": [{"type": "html"}, "rawHtml", "html"]})).json()["data"]
    assert data["html"] == data["rawHtml"] == PAGE and "nothing was removed" in data["warning"]


async def test_what_clients_always_send_is_understood(client: httpx2.AsyncClient, fetching: Fetching) -> None:
    sent = {
        "url": "A.test/x#y", "origin": "some-sdk", "integration": None, "onlyMainContent": True, "mobile": False,
        "removeBase64Images": True, "fastMode": False, "blockAds": True, "maxAge": 0, "storeInCache": True, "timeout": 900_000,
        "skipTlsVerification": True, "waitFor": 0, "actions": [], "parsers": [], "location": None,
    }
    answer = await client.post("/v2/scrape", json=RAW | sent)
    assert answer.status_code == 200 and answer.json()["data"]["metadata"]["sourceURL"] == "A.test/x#y"
    [fetch] = fetching.seen
    assert fetch.request.url == "http://a.test/x" and fetch.host == "a.test"
    assert fetch.request.timeout_seconds == 60 and fetch.request.max_age_seconds is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": None}, ["formats", "markdown", '["rawHtml"]']),
        ({"formats": []}, ["formats"]),
        ({"formats": "rawHtml"}, ["formats"]),
        ({"formats": ["markdown"]}, ["formats", "`rawHtml` and `html`"]),
        ({"formats": ["rawHtml", "screenshot"]}, ["formats"]),
        ({"formats": [{"type": "json", "schema": {}}]}, ["formats"]),
        ({"formats": [{"type": "rawHtml", "more": 1}]}, ["formats"]),
        ({"formats": [["rawHtml"]]}, ["formats"]),
        ({"formats": ["html"], "onlyMainContent": True}, ["onlyMainContent", "whole document"]),
        ({"actions": [{"type": "wait"}], "proxy": "auto", "location": {"country": "US"}}, ["`actions`, `location`, `proxy`"]),
        ({"mobile": True}, ["`mobile`"]),
        ({"waitFor": 100}, ["`waitFor`"]),
        ({"storeInCache": False}, ["`storeInCache`"]),
        ({"includeTags": ["p"]}, ["`includeTags`"]),
        ({"minAge": 1}, ["`minAge`"]),
        ({"typo": 1}, ["`typo`"]),
        ({"max_age": 1}, ["`max_age`"]),
        ({"timeout": 10}, ["timeout"]),
        ({"timeout": "5000"}, ["timeout"]),
        ({"maxAge": -1}, ["maxAge"]),
        ({"headers": {"Host": "b.test"}}, ["headers", "the fetcher itself"]),
        ({"headers": {"X": "a\nb"}}, ["headers"]),
        ({"url": "ftp://a.test/"}, ["url", "http"]),
        ({"url": "http://user:pass@a.test/"}, ["url", "credentials"]),
        ({"url": None}, ["url", "required"]),
    ],
)
async def test_what_is_not_made_here_is_refused_by_name(
    client: httpx2.AsyncClient, events: Redis, options: dict[str, Any], words: list[str]
) -> None:
    error = _refused(await client.post("/v2/scrape", json=RAW | options), 400)
    assert all(word in error for word in words), error
    batch = {"urls": [options.get("url", "http://a.test/")], "formats": ["rawHtml"], "ignoreInvalidURLs": False}
    batch |= {name: value for name, value in options.items() if name != "url"}
    _refused(await client.post("/v2/batch/scrape", json=batch), 400)
    assert not await events.xlen(ACCEPTED_STREAM)


@pytest.mark.parametrize(
    ("type", "status", "code"),
    [(ErrorType.DNS, 200, "SCRAPE_DNS_RESOLUTION_ERROR"), (ErrorType.TLS, 500, "SCRAPE_SSL_ERROR"),
     (ErrorType.TIMEOUT, 408, "SCRAPE_TIMEOUT"), (ErrorType.REFUSED_ADDRESS, 403, "SCRAPE_REFUSED"),
     (ErrorType.REFUSED_ROBOTS, 403, "SCRAPE_REFUSED"), (ErrorType.CONNECT, 500, "SCRAPE_SITE_ERROR")],
)
async def test_a_page_that_cannot_be_had_is_a_failure_with_a_code(
    client: httpx2.AsyncClient, fetching: Fetching, type: ErrorType, status: int, code: str
) -> None:
    fetching.ends["http://a.test/"] = failed(type)
    answer = await client.post("/v2/scrape", json=RAW)
    assert _refused(answer, status) == f"It was {type}." and answer.json()["code"] == code


async def test_a_page_that_is_not_there_in_time_is_a_timeout(client: httpx2.AsyncClient, fetching: Fetching) -> None:
    fetching.ends["http://a.test/"] = None
    answer = await client.post("/v2/scrape", json=RAW | {"timeout": 1000})
    assert f"/v1/fetches/{fetching.seen[0].id}" in _refused(answer, 408) and answer.json()["code"] == "SCRAPE_TIMEOUT"


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (page(b""), ""),
        (page(b"", charset=None), ""),
        (page("Größe".encode("cp1252"), charset="windows-1252"), "Größe"),
        (page(b"\xef\xbb\xbfa", charset_source=CharsetSource.BOM), "a"),
        (page(b"a\xffb"), "a\ufffdb"),
        (page(b"gone", status=410), "gone"),
    ],
)
async def test_text_is_decoded_by_its_charset(
    client: httpx2.AsyncClient, fetching: Fetching, ended: Ended, text: str
) -> None:
    fetching.ends["http://a.test/"] = ended
    data = (await client.post("/v2/scrape", json=RAW)).json()["data"]
    assert data["rawHtml"] == text and data["metadata"]["statusCode"] == ended["response"].status


@pytest.mark.parametrize(
    ("ended", "word"),
    [(page(b"%PDF", charset=None), "not text"), (page(b"x" * (TEXT_LIMIT_BYTES + 1)), "at most"),
     (page(b"x", charset="x-odd"), "x-odd")],
)
async def test_what_no_document_can_hold_is_told_where_it_is(
    client: httpx2.AsyncClient, fetching: Fetching, ended: Ended, word: str
) -> None:
    fetching.ends["http://a.test/"] = ended
    error = _refused(await client.post("/v2/scrape", json=RAW), 500)
    assert word in error and f"/v1/fetches/{fetching.seen[0].id}/content" in error


async def test_a_page_out_of_the_store_is_a_hit(client: httpx2.AsyncClient, fetching: Fetching) -> None:
    served = ServedBy(kind=ServedByKind.CACHE, fetch_id=new_fetch_id(), age_seconds=5)
    fetching.ends["http://a.test/"] = page() | {"served_by": served}
    assert (await client.post("/v2/scrape", json=RAW)).json()["data"]["metadata"]["cacheState"] == "hit"


async def _start(client: httpx2.AsyncClient, urls: list[str], **options: Any) -> dict[str, Any]:
    answer = await client.post("/v2/batch/scrape", json={"urls": urls, "formats": ["rawHtml"]} | options)
    assert answer.status_code == 200, answer.text
    started: dict[str, Any] = answer.json()
    assert started["success"] is True
    return started


async def _until_listed(client: httpx2.AsyncClient, gateway: Any, path: str, total: int) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while len(gateway.store.views) < total:
            await asyncio.sleep(0.01)
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def test_a_batch_is_followed_until_it_is_complete(
    client: httpx2.AsyncClient, gateway: Any, fetching: Fetching
) -> None:
    fetching.ends["http://a.test/slow"] = None
    fetching.ends["http://a.test/bad"] = failed(ErrorType.CONNECT)
    fetching.ends["http://a.test/pdf"] = page(b"%PDF", charset=None)
    urls = ["a.test/slow", "http://a.test/bad", "http://A.test/1", "http://a.test/pdf", "http://a.test/1"]
    started = await _start(client, [*urls, "ftp://a.test/"])
    assert started["invalidURLs"] == ["ftp://a.test/"]
    path = httpx2.URL(started["url"]).path
    assert path == f"/v2/batch/scrape/{started['id']}"
    read = await _until_listed(client, gateway, path, 5)
    assert (read["status"], read["total"], read["completed"]) == ("scraping", 5, 3)
    assert (read["success"], read["next"], read["creditsUsed"]) == (True, None, 0) and read["expiresAt"].endswith("+00:00")
    assert [document["metadata"]["sourceURL"] for document in read["data"]] == [urls[4], urls[3], urls[2]]
    assert read["data"][0]["rawHtml"] == PAGE and "not text" in read["data"][1]["metadata"]["error"]
    assert {fetch.batch_id for fetch in fetching.seen} == {UUID(started["id"])}
    assert fetching.seen[0].request.expires_at is None
    fetching.ends["http://a.test/slow"] = page()
    fetching.end(fetching.seen[0])
    read = (await client.get(path)).json()
    assert (read["status"], read["completed"], len(read["data"])) == ("completed", 4, 4)


async def test_a_batch_that_is_not_in_the_ledger_is_known(client: httpx2.AsyncClient) -> None:
    started = await _start(client, ["http://a.test/1", "http://a.test/2"])
    read = (await client.get(f"/v2/batch/scrape/{started['id']}")).json()
    assert (read["status"], read["total"], read["completed"], read["data"]) == ("scraping", 2, 0, [])
    _refused(await client.delete(f"/v2/batch/scrape/{started['id']}"), 503)


async def test_a_batch_is_read_in_pages_of_what_fits(client: httpx2.AsyncClient, gateway: Any, fetching: Fetching) -> None:
    urls = [f"http://a.test/{number}" for number in range(5)]
    fetching.ends |= {url: page(b"x" * (DATA_PAGE_CHARACTERS // 2)) for url in urls}
    started = await _start(client, urls)
    following: str | None = started["url"]
    read = await _until_listed(client, gateway, started["url"], 5)
    pages = []
    while following:
        read = (await client.get(following)).json()
        pages.append([document["metadata"]["sourceURL"] for document in read["data"]])
        following = read["next"]
    assert pages == [[urls[4], urls[3]], [urls[2], urls[1]], [urls[0]]]


async def test_a_batch_of_which_nothing_came_hasfailed(client: httpx2.AsyncClient, gateway: Any, fetching: Fetching) -> None:
    fetching.ends["http://a.test/"] = failed(ErrorType.CONNECT)
    started = await _start(client, ["http://a.test/"])
    read = await _until_listed(client, gateway, started["url"], 1)
    assert (read["status"], read["completed"], read["data"]) == ("failed", 0, [])


async def test_what_is_pending_of_a_batch_can_be_cancelled(client: httpx2.AsyncClient, gateway: Any, fetching: Fetching) -> None:
    fetching.ends["http://a.test/slow"] = None
    started = await _start(client, ["http://a.test/slow"] * 12 + ["http://a.test/"])
    await _until_listed(client, gateway, started["url"], 13)
    answer = await client.delete(f"/v2/batch/scrape/{started['id']}")
    assert answer.status_code == 200 and answer.json() == {"success": True, "status": "cancelled"}
    read = (await client.get(started["url"])).json()
    assert (read["status"], read["total"], read["completed"]) == ("cancelled", 13, 1)
    assert "finished" in _refused(await client.delete(f"/v2/batch/scrape/{started['id']}"), 409)


async def test_batches_that_make_no_sense_are_refused(client: httpx2.AsyncClient, events: Redis) -> None:
    for urls, more in (([], {}), (["ftp://a.test/"], {}), (["http://a.test/", "x y"], {"ignoreInvalidURLs": False}),
                       (["http://a.test/"] * 1001, {}), (["http://a.test/"], {"webhook": "http://a.test/"}), (None, {})):
        _refused(await client.post("/v2/batch/scrape", json={"urls": urls, "formats": ["rawHtml"]} | more), 400)
    assert not await events.xlen(ACCEPTED_STREAM)


async def test_refusals_have_the_form_of_firecrawl_wherever_they_come_from(
    client: httpx2.AsyncClient, gateway: Any, events: Redis
) -> None:
    stranger = httpx2.AsyncClient(base_url=gateway.url)
    answer = await stranger.post("/v2/scrape", json=RAW)
    assert "Bearer" in _refused(answer, 401) and answer.headers["www-authenticate"]
    await stranger.aclose()
    _refused(await client.get(f"/v2/batch/scrape/{new_fetch_id()}"), 404)
    _refused(await client.get("/v2/batch/scrape/x"), 404)
    _refused(await client.get("/v2/crawl/x"), 404)
    _refused(await client.get("/v2/scrape"), 405)
    _refused(await client.post("/v2/scrape", content=b"x" * 100_000), 413)
    _refused(await client.post("/v2/scrape", content=b"{", headers={"Content-Type": "application/json"}), 400)
    _refused(await client.post("/v2/scrape", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    assert "x-idempotency-key" in _refused(await client.post("/v2/scrape", json=RAW, headers={"x-idempotency-key": "1"}), 400)
    await events.hset(INGESTING_HASH, mapping={f"f{number}": "1-1" for number in range(50)})
    answer = await client.post("/v2/scrape", json=RAW)
    assert _refused(answer, 503) and answer.headers["retry-after"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_note_that_a_caller_made_up_is_no_note(client: httpx2.AsyncClient, gateway: Any) -> None:
    batch_id = new_fetch_id()
    for note in ({"firecrawl": 1}, {"firecrawl": {"formats": ["exe"], "total": "x"}}, {}):
        gateway.store.keep(url="http://a.test/", batch_id=batch_id, attrs=note, **page())
    read = (await client.get(f"/v2/batch/scrape/{batch_id}")).json()
    assert read["total"] == 3 and [document["rawHtml"] for document in read["data"]] == [PAGE] * 3


async def test_headers_that_go_with_many_pages_are_bounded(client: httpx2.AsyncClient, events: Redis) -> None:
    """A small request would be a large event."""
    headers = {f"X-{number}": "x" * 900 for number in range(30)}
    pages = {"urls": [f"a.test/{number}" for number in range(100)], "formats": ["rawHtml"], "headers": headers}
    answer = await client.post("/v2/batch/scrape", json=pages)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert "100 pages" in answer.text and not await events.xlen(ACCEPTED_STREAM)
    assert (await client.post("/v2/batch/scrape", json=pages | {"urls": pages["urls"][:10]})).status_code == 200
