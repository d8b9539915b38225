"""Fetches that requests wait for here, and word to them once the feed says that they have finished."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from gateway.feed.entries import FeedEntry


class Finishes:
    """Who waits for which fetch. As many as there are places to wait in, never more."""

    def __init__(self) -> None:
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}

    @contextmanager
    def expect(self, fetch_id: UUID) -> "Iterator[asyncio.Future[None]]":
        """A future that is done once the fetch has finished, or the process is about to stop. Ask before you look."""
        finish: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        awaiting = self._awaited.setdefault(str(fetch_id), set())
        awaiting.add(finish)
        try:
            yield finish
        finally:
            awaiting.discard(finish)
            if not awaiting:
                self._awaited.pop(str(fetch_id), None)

    def note(self, entries: Iterable[FeedEntry]) -> None:
        """Tell those who wait for one of these. Reads nothing while nobody waits."""
        if self._awaited:
            for entry in entries:
                if entry.finished_fetch is not None:
                    _tell(self._awaited.get(entry.finished_fetch, ()))

    def close(self) -> None:
        """Tell everyone."""
        for awaiting in self._awaited.values():
            _tell(awaiting)


def _tell(awaiting: "Iterable[asyncio.Future[None]]") -> None:
    for finish in awaiting:
        if not finish.done():
            finish.set_result(None)
