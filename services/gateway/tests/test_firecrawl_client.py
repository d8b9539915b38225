"""Firecrawl's own Python client, pointed here."""

import asyncio
from typing import Any

import pytest
from common.contracts.fetches import ErrorType
from firecrawl import Firecrawl
from firecrawl.v2.utils.error_handler import BadRequestError, DNSResolutionError, UnauthorizedError, WebsiteNotSupportedError
from firecrawl_words import PAGE, Fetching, failed, page
from gateway_words import KEY

from gateway.firecrawl.batches import DATA_PAGE_CHARACTERS


@pytest.fixture
def theirs(gateway: Any) -> Firecrawl:
    """The client as its users make it."""
    return Firecrawl(api_key=KEY, api_url=gateway.url)


async def test_it_scrapes_a_page(theirs: Firecrawl, fetching: Fetching) -> None:
    document = await asyncio.to_thread(theirs.scrape, "http://a.test/", formats=["rawHtml"])
    assert document.raw_html == PAGE and document.html is None
    assert document.metadata.status_code == 200 and document.metadata.source_url == "http://a.test/"
    document = await asyncio.to_thread(
        theirs.scrape, "http://a.test/", formats=["html"], only_main_content=False, headers={"X-A": "1"}, timeout=5000
    )
    assert document.html == PAGE and "nothing was removed" in document.warning
    assert fetching.seen[-1].request.headers == {"X-A": "1"} and fetching.seen[-1].request.timeout_seconds == 5


async def test_it_scrapes_a_batch(theirs: Firecrawl, fetching: Fetching) -> None:
    fetching.ends["http://a.test/bad"] = failed(ErrorType.CONNECT)
    urls = [f"http://a.test/{number}" for number in range(6)]
    texts = [f"{number}" * (DATA_PAGE_CHARACTERS // 2) for number in range(6)]  # three answers have them all
    fetching.ends |= {url: page(text.encode()) for url, text in zip(urls, texts, strict=True)}
    job = await asyncio.to_thread(
        theirs.batch_scrape, [*urls, "http://a.test/bad"], formats=["rawHtml"], poll_interval=1, wait_timeout=20
    )
    assert (job.status, job.total, job.completed) == ("completed", 7, 6)
    read = sorted((document.metadata.source_url, document.raw_html) for document in job.data)
    assert read == list(zip(urls, texts, strict=True))


async def test_it_cancels_a_batch(theirs: Firecrawl, gateway: Any, fetching: Fetching) -> None:
    fetching.ends["http://a.test/"] = None
    job = await asyncio.to_thread(theirs.start_batch_scrape, ["http://a.test/"], formats=["rawHtml"])
    async with asyncio.timeout(10):
        while not gateway.store.views:
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(theirs.cancel_batch_scrape, job.id)
    assert (await asyncio.to_thread(theirs.get_batch_scrape_status, job.id)).status == "cancelled"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, BadRequestError, "markdown"),
        ({"formats": ["rawHtml", "links"]}, BadRequestError, "Of all formats"),
        ({"formats": ["html"]}, BadRequestError, "onlyMainContent"),
        ({"formats": ["rawHtml"], "proxy": "stealth"}, BadRequestError, "`proxy`"),
    ],
)
async def test_it_learns_what_is_not_made_here(
    theirs: Firecrawl, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await asyncio.to_thread(theirs.scrape, "http://a.test/", **options)


async def test_it_learns_why_a_page_cannot_be_had(theirs: Firecrawl, gateway: Any, fetching: Fetching) -> None:
    fetching.ends |= {"http://a.test/": failed(ErrorType.DNS), "http://b.test/": failed(ErrorType.REFUSED_ROBOTS)}
    with pytest.raises(DNSResolutionError, match="It was dns"):
        await asyncio.to_thread(theirs.scrape, "http://a.test/", formats=["rawHtml"])
    with pytest.raises(WebsiteNotSupportedError, match="It was refused_robots"):
        await asyncio.to_thread(theirs.scrape, "http://b.test/", formats=["rawHtml"])
    with pytest.raises(UnauthorizedError):
        await asyncio.to_thread(Firecrawl(api_key="wrong", api_url=gateway.url).scrape, "http://a.test/", formats=["rawHtml"])
