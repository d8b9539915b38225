"""The robots.txt files that all workers share, behind the store's internal API.

The store being away never fails a fetch: a worker then asks the origin itself, and leaves the store alone for a moment.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp
import structlog
from common.chassis.telemetry import trace_headers
from common.clock import Clock
from common.contracts.robots import RobotsFile
from pydantic import ValidationError

from fetcher.report import StoreAddress

TIMEOUT_SECONDS = 2.0
LEAVE_ALONE_SECONDS = 5.0
"""After a failure: a store that hangs must not cost every new origin its timeout."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the store has about an origin, expired or not; `is_away` when it could not be asked."""

    file: RobotsFile | None = None
    is_away: bool = False


class RobotsStore:
    """Reads and hands in robots.txt files. Never raises for anything that the store does."""

    def __init__(
        self, store: StoreAddress, *, session: aiohttp.ClientSession, clock: Clock, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._url = f"{store.url.rstrip('/')}/internal/v1/robots"
        self._headers = {"Authorization": f"Bearer {store.token}"}
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=timeout_seconds)
        self._clock = clock
        self._away_until: datetime | None = None

    async def get(self, origin: str) -> Stored:
        """What the store has about this origin."""
        if self._is_left_alone():
            return Stored(is_away=True)
        try:
            async with self._session.get(
                self._url,
                params={"origin": origin},
                headers=self._headers | trace_headers(),
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                if response.status == 404:
                    return Stored()
                _expect(response, status=200)
                file = RobotsFile.model_validate_json(await response.read())
        except (aiohttp.ClientError, OSError, ValidationError) as error:
            self._failed("robots not read", error)
            return Stored(is_away=True)
        return Stored(file=file) if file.origin == origin else Stored()

    async def put(self, file: RobotsFile) -> bool:
        """Hand a file in for others; False when the store did not take it."""
        if self._is_left_alone():
            return False
        headers = self._headers | trace_headers() | {"Content-Type": "application/json"}
        try:
            async with self._session.put(
                self._url, data=file.model_dump_json().encode(), headers=headers, allow_redirects=False, timeout=self._timeout
            ) as response:
                _expect(response, status=204)
        except (aiohttp.ClientError, OSError) as error:
            self._failed("robots not stored", error)
            return False
        return True

    def _is_left_alone(self) -> bool:
        return self._away_until is not None and self._clock() < self._away_until

    def _failed(self, event: str, error: Exception) -> None:
        self._away_until = self._clock() + timedelta(seconds=LEAVE_ALONE_SECONDS)
        log.warning(event, error=type(error).__name__)


def _expect(response: aiohttp.ClientResponse, *, status: int) -> None:
    if response.status != status:
        raise aiohttp.ClientResponseError(response.request_info, response.history, status=response.status)
