"""The origin as a test sees it: the address that fetchers use for it, and what it saw, asked over HTTP."""

from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

SIBLINGS = 8
"""Further ports of the website: each is an origin of its own, with a robots.txt of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A running website from hell. `url` is for fetchers; `window` reaches the same website from the tests."""

    url: str
    window: httpx2.AsyncClient
    siblings: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Its address, as fetchers use it."""
        host = urlsplit(self.url).hostname
        assert host is not None
        return host

    async def with_robots(self, text: str = "", *, status: int = 200) -> str:
        """The URL of a sibling that nobody has asked for anything yet, with this robots.txt."""
        url = self.siblings.pop()
        answer = await self.window.put(f"/seen/robots/{urlsplit(url).port}", json={"status": status, "text": text})
        answer.raise_for_status()
        return url

    async def robots_hits(self, url: str) -> int:
        """How often the robots.txt of that sibling was asked for."""
        return (await self.hits())[f"{urlsplit(url).port}/robots.txt"]

    async def hits(self, part: str = "") -> Counter[str]:
        """How often each path with its query was hit, of those that contain `part`."""
        answer = await self.window.get("/seen/hits", params={"part": part})
        return Counter(answer.raise_for_status().json())

    async def headers(self, path: str) -> httpx2.Headers:
        """The headers of the last request for this path with its query."""
        answer = await self.window.get("/seen/headers", params={"path": path})
        return httpx2.Headers(answer.raise_for_status().json())
