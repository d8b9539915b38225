"""What is answered under /v2, as the OpenAPI document shows it: Firecrawl's documents, and scrapes that failed."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from gateway.firecrawl.refusals import FAILURES, NO_TEXT, OTHER_FAILURE
from gateway.openapi.firecrawl import refusal_content
from gateway.openapi.responses import Responses, response

BATCH_ID = "01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a66"
BATCH_URL = f"https://fetchwork.example/v2/batch/scrape/{BATCH_ID}"
PAGE_EXAMPLE: JsonValue = {
    "rawHtml": "<!doctype html><title>Item 7</title>",
    "metadata": {
        "sourceURL": "https://example.com/item/7",
        "url": "https://example.com/item/7",
        "statusCode": 200,
        "contentType": "text/html; charset=utf-8",
        "scrapeId": "01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55",
        "cacheState": "miss",
        "creditsUsed": 0,
    },
}


class FirecrawlMetadata(BaseModel):
    """Where a page came from and how it was answered; `error` instead of that where a document cannot hold it."""

    sourceURL: str  # noqa: N815  Firecrawl's name, as are those below
    url: str | None = None
    statusCode: int  # noqa: N815
    contentType: str | None = None  # noqa: N815
    scrapeId: str | None = None  # noqa: N815
    cacheState: Literal["hit", "miss"] | None = None  # noqa: N815
    creditsUsed: Literal[0] | None = None  # noqa: N815
    error: str | None = None


class FirecrawlPage(BaseModel):
    """One page in the formats that were asked for."""

    rawHtml: str | None = None  # noqa: N815
    html: str | None = None
    warning: str | None = None
    metadata: FirecrawlMetadata


class ScrapeAnswer(BaseModel):
    """A page that was scraped."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"success": True, "data": PAGE_EXAMPLE}]})

    success: Literal[True]
    data: FirecrawlPage


class BatchScrapeReceipt(BaseModel):
    """A batch that was accepted, and where it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"success": True, "id": BATCH_ID, "url": BATCH_URL, "invalidURLs": []}]}
    )

    success: Literal[True]
    id: str
    url: str
    invalidURLs: list[str] | None = Field(default=None, description="What was left out.")  # noqa: N815


class BatchScrapeAnswer(BaseModel):
    """How far a batch is, and pages of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "status": "completed",
                    "total": 1,
                    "completed": 1,
                    "creditsUsed": 0,
                    "expiresAt": "2026-12-25T18:00:00Z",
                    "next": f"{BATCH_URL}?after=01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55",
                    "data": [PAGE_EXAMPLE],
                }
            ]
        }
    )

    success: Literal[True]
    status: Literal["scraping", "completed", "failed", "cancelled"]
    total: int
    completed: int
    creditsUsed: Literal[0]  # noqa: N815
    expiresAt: AwareDatetime  # noqa: N815
    next: str | None = Field(description="Where more pages are.")
    data: list[FirecrawlPage]


class CancellationAnswer(BaseModel):
    """A batch of which nothing more is fetched."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"success": True, "status": "cancelled"}]})

    success: Literal[True]
    status: Literal["cancelled"]


def failure_responses() -> Responses:
    """A scrape that failed: for each status, also 200, one response with an example of each code."""
    codes: dict[int, set[str]] = {}
    for status, code in (*FAILURES.values(), OTHER_FAILURE, NO_TEXT):
        codes.setdefault(status, set()).add(code)
    made: Responses = {}
    for status in sorted(codes):
        examples = {
            code: {"success": False, "code": code, "error": "A sentence that says what went wrong."}
            for code in sorted(codes[status])
        }
        made |= response(status, "The scrape failed; `code` says how.", content=refusal_content(examples))
    return made


def scrape_responses() -> Responses:
    """A page, or a scrape that failed. A name that does not exist is answered as Firecrawl does: with 200."""
    failures = failure_responses()
    content = failures[200]["content"]["application/json"]
    shown = {"page": {"value": {"success": True, "data": PAGE_EXAMPLE}}} | content["examples"]
    said = "The page; or `success` is false, and the page's host has no address."
    return failures | response(200, said, content={"application/json": {"examples": shown}})
