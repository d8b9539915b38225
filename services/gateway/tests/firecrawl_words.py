"""What the tests of Firecrawl's API share: a page, and fetches that end."""

import hashlib
from typing import Any

from common.contracts.catalog import FETCH_ACCEPTED
from common.contracts.envelope import Envelope
from common.contracts.fetches import AcceptedFetch, ErrorType, FetchError, FetchesAccepted, FetchStatus
from common.contracts.views import ResponseView
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD, INGESTING_HASH
from redis.asyncio import Redis

PAGE = "<!doctype html><title>Größe</title><script>1</script>"
Ended = dict[str, Any]


def page(body: bytes = PAGE.encode(), *, charset: str | None = "utf-8", status: int = 200, **facts: Any) -> Ended:
    """How a fetch ends that brings this body."""
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}" if body else None
    response = ResponseView(
        status=status, final_url="http://a.test/end", charset=charset, size_bytes=len(body), digest=digest,
        headers={"content-type": "text/html; charset=x"}, **facts,
    )
    return {"body": body, "response": response}


def failed(type: ErrorType) -> Ended:
    return {"body": None, "status": FetchStatus.FAILED, "error": FetchError(type=type, detail=f"It was {type}.")}


class Fetching:
    """Ends each fetch that is promised, by its URL, as the store and a fetcher would; others as a page."""

    def __init__(self, gateway: Any, events: Redis) -> None:
        self._gateway, self._events = gateway, events
        self.ends: dict[str, Ended | None] = {}
        self.seen: list[AcceptedFetch] = []
        self.is_stopping = False

    async def run(self) -> None:
        """Read the stream until stopped."""
        last = b"0"
        while not self.is_stopping:
            found: Any = await self._events.xread({ACCEPTED_STREAM: last}, block=50)
            for _, entries in found or ():
                last = entries[-1][0]
                for _, fields in entries:
                    event = Envelope[FetchesAccepted].model_validate_json(fields[EVENT_FIELD])
                    assert event.type == FETCH_ACCEPTED
                    for fetch in event.data.fetches:  # all of an event at once, as the ledger takes them
                        self.end(fetch)
                    await self._events.hdel(INGESTING_HASH, *(str(fetch.id) for fetch in event.data.fetches))

    def end(self, fetch: AcceptedFetch) -> None:
        """Let the little store know how it ended; None is not yet."""
        self.seen.append(fetch)
        ended = self.ends.get(fetch.request.url, page())
        facts = ended or {"body": None, "status": FetchStatus.RUNNING}
        self._gateway.store.keep(id=fetch.id, url=fetch.request.url, batch_id=fetch.batch_id, attrs=fetch.attrs, **facts)
