"""Scrapy into Postgres: a spider over a list of URLs, and a pipeline that inserts a hundred items in one transaction.

`scrapy_pipeline.py FILE` crawls the URLs of the file and prints JSON: how many rows there are, and the seconds from the start of
the engine until the last row is committed; the interpreter's own start is not counted. RIVAL_DATABASE says where.
"""

import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import scrapy
from scrapy import signals
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.http import Response

CONCURRENT_REQUESTS = 64
ITEMS_TOGETHER = 100
TABLE = """
CREATE TABLE IF NOT EXISTS items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, url text NOT NULL, status int NOT NULL, headers jsonb NOT NULL,
    body bytea NOT NULL, fetched_at timestamptz NOT NULL DEFAULT now())
"""
INSERT = "INSERT INTO items (url, status, headers, body) VALUES (%s, %s, %s, %s)"
SETTINGS = {
    "CONCURRENT_REQUESTS": CONCURRENT_REQUESTS,
    "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENT_REQUESTS,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": True,
    "LOG_LEVEL": "CRITICAL",
    "TELNETCONSOLE_ENABLED": False,
    "ITEM_PIPELINES": {"__main__.Postgres": 100},
}


class Postgres:
    """Collects items, and inserts them together."""

    def __init__(self) -> None:
        self._connection = psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True)
        self._connection.execute(TABLE)
        self._connection.execute("TRUNCATE items")
        self._waiting: list[tuple[Any, ...]] = []
        self._started = 0.0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "Postgres":
        """As Scrapy makes it; the clock starts with the engine."""
        pipeline = cls()
        crawler.signals.connect(pipeline.engine_started, signal=signals.engine_started)
        return pipeline

    def engine_started(self) -> None:
        """The clock starts."""
        self._started = time.perf_counter()

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """One more; with the hundredth all go."""
        self._waiting.append((item["url"], item["status"], json.dumps(item["headers"]), item["body"]))
        if len(self._waiting) >= ITEMS_TOGETHER:
            self._insert()
        return item

    def close_spider(self) -> None:
        """The rest, and the result."""
        self._insert()
        seconds = time.perf_counter() - self._started
        (rows,) = self._connection.execute("SELECT count(*) FROM items WHERE status = 200").fetchone() or (0,)
        self._connection.close()
        print(json.dumps({"fetches": rows, "seconds": seconds}))

    def _insert(self) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(INSERT, self._waiting)
        self._waiting.clear()


class Pages(scrapy.Spider):
    """Asks for every URL of the list once."""

    name = "pages"

    def __init__(self, urls: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._urls = urls

    async def start(self) -> AsyncIterator[Any]:
        """A request for each."""
        for url in self._urls:
            yield scrapy.Request(url)

    def parse(self, response: Response, **_: Any) -> Any:
        """What the others keep too."""
        headers = {name.decode("latin-1"): value[0].decode("latin-1") for name, value in response.headers.items()}
        yield {"url": response.url, "status": response.status, "headers": headers, "body": response.body}


if __name__ == "__main__":
    process = CrawlerProcess(SETTINGS)
    process.crawl(Pages, urls=Path(sys.argv[1]).read_text().split())
    process.start()
