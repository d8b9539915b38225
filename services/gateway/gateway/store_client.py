"""The store's internal API as the gateway reads it. Translates everything that can go wrong into StoreUnavailable."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import aiohttp
from common.chassis.telemetry import current_traceparent
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from pydantic import ValidationError

from gateway.errors import StoreUnavailable

CONNECTIONS_LIMIT = 100
TRIES = 2
"""Reads are idempotent: one more try covers a pooled connection that the store closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """A fetch's status, and its zstd body with digest and decoded size when it has one."""

    status: FetchStatus
    digest: str | None = None
    size_bytes: int = 0
    body: bytes = b""


class StoreClient:
    """Reads over one pooled session; `close` it at the end."""

    def __init__(self, *, base_url: str, token: str, timeout_seconds: float) -> None:
        self._session = aiohttp.ClientSession(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=2),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_LIMIT),
            trust_env=False,
        )

    async def read_fetch(self, fetch_id: UUID) -> FetchView | None:
        """The fetch, or None when the ledger does not have it. Raises StoreUnavailable."""
        status, _, body = await self._get(f"internal/v1/fetches/{fetch_id}?knows_hosts=true")
        if status == 404:
            return None
        try:
            return FetchView.model_validate_json(body)
        except ValidationError as error:
            raise StoreUnavailable("the store's answer cannot be read") from error

    async def read_content(self, fetch_id: UUID) -> StoredContent | None:
        """The stored body, or None when the ledger does not have the fetch. Raises StoreUnavailable."""
        status, headers, body = await self._get(f"internal/v1/fetches/{fetch_id}/content")
        if status == 404:
            return None
        fetch_status = FetchStatus(headers["X-Fetch-Status"])
        if status == 204:
            return StoredContent(status=fetch_status)
        size_bytes = int(headers["X-Content-Size-Bytes"])
        return StoredContent(status=fetch_status, digest=headers["X-Content-Digest"], size_bytes=size_bytes, body=body)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _get(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        traceparent = current_traceparent()
        headers = {"traceparent": traceparent} if traceparent else {}
        for remaining in reversed(range(TRIES)):
            try:
                async with self._session.get(path, headers=headers, allow_redirects=False) as response:
                    if response.status in (200, 204, 404):
                        return response.status, response.headers, await response.read()
                    raise StoreUnavailable(f"the store answered {response.status}")
            except (aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
                if not remaining:
                    raise StoreUnavailable(type(error).__name__) from error
            except (aiohttp.ClientError, TimeoutError) as error:
                raise StoreUnavailable(type(error).__name__) from error
        raise AssertionError("unreachable: the last try returns or raises")
