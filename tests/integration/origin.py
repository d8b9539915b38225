"""The origin as a test sees it: the address that fetchers use for it, and what it saw, asked over HTTP."""

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A running website from hell. `url` is for fetchers; `window` reaches the same website from the tests."""

    url: str
    window: httpx2.AsyncClient

    @property
    def host(self) -> str:
        """Its address, as fetchers use it."""
        host = urlsplit(self.url).hostname
        assert host is not None
        return host

    async def hits(self, part: str = "") -> Counter[str]:
        """How often each path with its query was hit, of those that contain `part`."""
        answer = await self.window.get("/seen/hits", params={"part": part})
        return Counter(answer.raise_for_status().json())

    async def headers(self, path: str) -> httpx2.Headers:
        """The headers of the last request for this path with its query."""
        answer = await self.window.get("/seen/headers", params={"path": path})
        return httpx2.Headers(answer.raise_for_status().json())
