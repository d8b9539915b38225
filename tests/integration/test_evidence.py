"""What a reader learns of a fetch: what happened on the wire, and what the response is."""

import asyncio

import pytest
from driver import Driver
from origin import Origin
from website import CODERS, WORDS, page


async def test_a_hop_tells_what_was_dialled_and_a_refused_one_does_not(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/redirect?to=http://127.0.0.1:1/")
    [attempt] = document["attempts"]
    allowed, refused = attempt["evidence"]["hops"]
    assert (allowed["addresses"], allowed["status"], allowed["via_proxy"]) == ([origin.host], 302, False)
    assert origin.host in allowed["peer"] and allowed["method"] == "GET"
    assert refused["url"] == "http://127.0.0.1:1/" and refused["verdict"].startswith("deny_")
    assert (refused["addresses"], refused["peer"], refused["status"]) == ([], None, None)
    assert attempt["error"] == "refused_address" and attempt["outcome"] == "refused"


async def test_an_attempt_tells_how_long_and_how_much(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/coded/gzip")
    evidence = document["attempts"][0]["evidence"]
    assert 0 < evidence["first_byte_seconds"] <= evidence["total_seconds"] <= document["attempts"][0]["seconds"] + 1
    assert evidence["wire_bytes"] > 0 and evidence["decoded_bytes"] == len(page("gzip")) and evidence["exceeded"] is None


@pytest.mark.parametrize(
    ("path", "request_", "error", "budget"),
    [
        ("/huge/8000000", {"max_bytes": 100_000}, "too_large", "decoded_bytes"),
        ("/slow/30?budget", {"timeout_seconds": 0.3}, "timeout", "total"),
        ("/loop", {}, "too_many_redirects", "redirects"),
    ],
)
async def test_the_limit_that_ended_an_attempt_is_named(
    driver: Driver, origin: Origin, path: str, request_: dict[str, float], error: str, budget: str
) -> None:
    document = await driver.fetch(f"{origin.url}{path}", retries={"max": 0}, **request_)
    assert (document["error"]["type"], document["attempts"][0]["evidence"]["exceeded"]) == (error, budget)


async def test_every_coding_is_undone_and_named(driver: Driver, origin: Origin) -> None:
    documents = await asyncio.gather(*(driver.fetch(f"{origin.url}/coded/{coding}") for coding in CODERS))
    assert [document["response"]["coding"] for document in documents] == list(CODERS)
    assert [await driver.content(document) for document in documents] == [page(coding) for coding in CODERS]


@pytest.mark.parametrize(("query", "source"), [("", "header"), ("?declared=utf-8", "meta"), ("?declared=nonsense", "meta")])
async def test_text_is_kept_as_it_came_with_the_charset_that_reads_it(
    driver: Driver, origin: Origin, query: str, source: str
) -> None:
    document = await driver.fetch(f"{origin.url}/charset/windows-1251{query}")
    response = document["response"]
    assert (response["charset"], response["charset_source"]) == ("windows-1251", source)
    assert response["media_type"] == response["detected_media_type"] == "text/html"
    assert WORDS in (await driver.content(document)).decode(response["charset"])


async def test_the_redirects_that_were_followed_are_told(driver: Driver, origin: Origin) -> None:
    url = f"{origin.url}/redirect?to=/page/told"
    document = await driver.fetch(url)
    assert document["response"]["redirects"] == [{"url": url, "status": 302}]
    assert document["method"] == "GET" and document["at_most_once"] is False
