"""The client of a gateway: one object, with all the calls."""

from types import TracebackType
from typing import Self

from fetchwork._batch_calls import BatchCalls
from fetchwork._event_calls import EventCalls
from fetchwork._fetch_calls import FetchCalls
from fetchwork._key_calls import KeyCalls
from fetchwork._transport import Transport

CALL_TIMEOUT_SECONDS = 30.0


class Client(FetchCalls, BatchCalls, EventCalls, KeyCalls):
    """A gateway and a key. Use it as an async context manager; any number of tasks may share it."""

    def __init__(self, url: str, api_key: str, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> None:
        super().__init__(Transport(url, api_key, timeout_seconds=timeout_seconds))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._transport.close()
