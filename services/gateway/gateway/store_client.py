"""The store's internal API as the gateway uses it. Translates everything that can go wrong into StoreUnavailable."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
from common.chassis.health import Unhealthy
from common.chassis.telemetry import trace_headers
from common.contracts.audit import OperationPage, RefusalPage
from common.contracts.batches import BatchView
from common.contracts.dead_letters import DeadLetterPage, DeadLetterView
from common.contracts.fetches import BODY_LIMIT_BYTES, AcceptedFetch, FetchStatus
from common.contracts.hosts import HostOperation, HostPage, HostState, HostView
from common.contracts.keys import KeyChanges, KeyCreation, KeyOperation, KeyPage, KeyRecord, KeyRotation, KeyUses
from common.contracts.overview import Overview
from common.contracts.plans import PlanAnswer, PlanInquiry
from common.contracts.views import FetchPage, FetchView
from pydantic import BaseModel, ValidationError

from gateway.errors import StoreUnavailable
from gateway.metrics import GatewayMetrics, StoreOperation, StoreResult

CONNECTIONS_LIMIT = 100
IDEMPOTENT = frozenset({"GET", "PUT", "PATCH", "DELETE"})
"""What may be done twice (RFC 9110 section 9.2.2) is tried again where the store refused or closed the connection, as one does
that stops: behind its name another may stand. A PATCH of ours says what shall be, not what to add, so that it is idempotent
too; a POST puts a message back once more.
"""
GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
RETRY_REST_SECONDS = 0.05
LATEST_REVISION = 2**63 - 1
"""Behind all changes of keys: a reading from there on costs the store least."""
DOCUMENT_LIMIT_BYTES = 8 * 1024 * 1024
PAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""A page of fetches, each with its whole evidence; by far most have a few kilobytes."""
CONTENT_LIMIT_BYTES = BODY_LIMIT_BYTES + 1024 * 1024
"""What zstd makes of bytes that cannot be compressed is hardly larger than they are."""

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """A fetch's status, and its zstd body with digest and decoded size when it has one."""

    status: FetchStatus
    digest: str | None = None
    size_bytes: int = 0
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class StoreClient:
    """Calls over one pooled session; `close` it at the end. Every method raises StoreUnavailable, and nothing else."""

    def __init__(
        self, *, base_url: str, token: str, timeout_seconds: float, metrics: GatewayMetrics, retry_seconds: float = 0.0
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._retry_seconds = min(retry_seconds, timeout_seconds)
        self._metrics = metrics
        self._session = aiohttp.ClientSession(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=2),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_LIMIT),
            trust_env=False,
        )

    @property
    def timeout_seconds(self) -> float:
        """How long one call may take."""
        return self._timeout_seconds

    async def check(self) -> None:
        """Raise unless the store answers about its database."""
        try:
            await self.read_key_changes(after_revision=LATEST_REVISION, limit=1)
        except StoreUnavailable as error:
            if error.__cause__ is None:
                raise Unhealthy("does not serve") from error
            raise

    async def read_fetch(self, fetch_id: UUID, *, tenant: str) -> FetchView | None:
        """The tenant's fetch, or None when the ledger has none of this id. Raises StoreUnavailable."""
        query = {"tenant": tenant, "knows_hosts": "true"}
        answer = await self._call(StoreOperation.READ, "GET", f"fetches/{fetch_id}", query=query, answers={200, 404})
        return None if answer.status == 404 else _read(FetchView, answer)

    async def list_fetches(
        self,
        *,
        tenant: str,
        limit: int,
        after: UUID | None = None,
        status: str | None = None,
        host: str | None = None,
        label: str | None = None,
        batch_id: str | None = None,
    ) -> FetchPage:
        """The tenant's fetches that fit, the newest first, from the one behind `after` on. Raises StoreUnavailable."""
        filters = {"status": status, "host": host, "label": label, "batch_id": batch_id}
        query = {"tenant": tenant, "limit": str(limit), "after": str(after) if after else None, **filters}
        answer = await self._call(StoreOperation.LIST, "GET", "fetches", query=query, answers={200}, limit_bytes=PAGE_LIMIT_BYTES)
        return _read(FetchPage, answer)

    async def read_request(self, fetch_id: UUID, *, tenant: str) -> AcceptedFetch | None:
        """The tenant's fetch as it was accepted, or None when the ledger has none of this id. Raises StoreUnavailable."""
        answer = await self._call(
            StoreOperation.READ, "GET", f"fetches/{fetch_id}/request", query={"tenant": tenant}, answers={200, 404}
        )
        return None if answer.status == 404 else _read(AcceptedFetch, answer)

    async def cancel_fetch(self, fetch_id: UUID, *, tenant: str) -> FetchView | None:
        """The tenant's fetch as it is from now on: `cancelled`, or as it had ended before; None when the ledger does not have it.

        Raises StoreUnavailable, also when the store leaves the fetch pending.
        """
        answer = await self._call(
            StoreOperation.WRITE, "DELETE", f"fetches/{fetch_id}", query={"tenant": tenant}, answers={200, 404, 409}
        )
        if answer.status == 404:
            return None
        view = _read(FetchView, answer)
        if (view.status is FetchStatus.CANCELLED) is not (answer.status == 200) or not view.status.is_terminal:
            raise StoreUnavailable(f"the store answered {answer.status} about a fetch that is {view.status}")
        return view

    async def read_content(self, fetch_id: UUID, *, tenant: str) -> StoredContent | None:
        """The stored body, or None when the ledger has no fetch of the tenant with this id. Raises StoreUnavailable."""
        path, query = f"fetches/{fetch_id}/content", {"tenant": tenant}
        answer = await self._call(
            StoreOperation.CONTENT, "GET", path, query=query, answers={200, 204, 404}, limit_bytes=CONTENT_LIMIT_BYTES
        )
        if answer.status == 404:
            return None
        try:
            status = FetchStatus(answer.headers["X-Fetch-Status"])
            if answer.status == 204:
                return StoredContent(status=status)
            size_bytes = int(answer.headers["X-Content-Size-Bytes"])
            digest = answer.headers["X-Content-Digest"]
        except (KeyError, ValueError) as error:
            raise StoreUnavailable("the headers of the store's answer cannot be read") from error
        return StoredContent(status=status, digest=digest, size_bytes=size_bytes, body=answer.body)

    async def read_batch(self, batch_id: UUID, *, tenant: str) -> BatchView | None:
        """The tenant's batch, or None when the ledger has none of this id. Raises StoreUnavailable."""
        answer = await self._call(StoreOperation.READ, "GET", f"batches/{batch_id}", query={"tenant": tenant}, answers={200, 404})
        return None if answer.status == 404 else _read(BatchView, answer)

    async def list_hosts(self, *, limit: int, after: str | None, state: HostState | None) -> HostPage:
        """Hosts in the order of their names, from the one behind `after` on. Raises StoreUnavailable."""
        query = {"limit": str(limit), "after": after, "state": state}
        return _read(HostPage, await self._call(StoreOperation.LIST, "GET", "hosts", query=query, answers={200}))

    async def read_host(self, host: str) -> HostView | None:
        """The host, or None when nobody ever asked for it. Raises StoreUnavailable."""
        answer = await self._call(StoreOperation.READ, "GET", "hosts/one", query={"host": host}, answers={200, 404})
        return None if answer.status == 404 else _read(HostView, answer)

    async def change_host(self, host: str, operation: HostOperation) -> HostView:
        """Change what an operator may change; members that were not set stay as they are. Raises StoreUnavailable."""
        content = operation.model_dump_json(exclude_unset=True)
        answer = await self._call(
            StoreOperation.WRITE, "PATCH", "hosts/one", query={"host": host}, content=content, answers={200}
        )
        return _read(HostView, answer)

    async def list_dead_letters(self, *, limit: int, after: str | None) -> DeadLetterPage:
        """Parked messages, the newest first, from the one behind `after` on. Raises StoreUnavailable."""
        query = {"limit": str(limit), "after": after}
        return _read(DeadLetterPage, await self._call(StoreOperation.LIST, "GET", "dead-letters", query=query, answers={200}))

    async def redrive(self, dead_letter_id: int, *, actor: str) -> DeadLetterView | None:
        """Put a parked message back into its stream; None when there is none of this id.

        Raises StoreUnavailable, also while the events Redis is away; the message may be back in its stream all the same.
        """
        content = _Redrive(actor=actor).model_dump_json()
        answer = await self._call(
            StoreOperation.WRITE, "POST", f"dead-letters/{dead_letter_id}/redrive", content=content, answers={200, 404}
        )
        return None if answer.status == 404 else _read(DeadLetterView, answer)

    async def plan(self, inquiry: PlanInquiry) -> PlanAnswer:
        """What attempts on these hosts would meet, and these origins' robots.txt. Changes nothing. Raises StoreUnavailable."""
        answer = await self._call(
            StoreOperation.PLAN, "POST", "plan", content=inquiry.model_dump_json(), answers={200}, may_repeat=True
        )
        return _read(PlanAnswer, answer)

    async def read_key_changes(self, *, after_revision: int, limit: int) -> KeyChanges:
        """Keys that changed after that revision, in the order of their changes. Raises StoreUnavailable."""
        query = {"after_revision": str(after_revision), "limit": str(limit)}
        return _read(KeyChanges, await self._call(StoreOperation.KEYS, "GET", "keys", query=query, answers={200}))

    async def report_key_uses(self, uses: KeyUses) -> None:
        """Tell when keys were last used. Raises StoreUnavailable."""
        await self._call(StoreOperation.KEYS, "POST", "keys/used", content=uses.model_dump_json(), answers={204})

    async def list_keys(self, *, tenant: str | None, limit: int, after: str | None) -> KeyPage:
        """Keys in the order of their ids, of one tenant or of all, from the one behind `after` on. Raises StoreUnavailable."""
        query = {"tenant": tenant, "limit": str(limit), "after": after}
        return _read(KeyPage, await self._call(StoreOperation.LIST, "GET", "keys/page", query=query, answers={200}))

    async def read_key(self, key_id: str) -> KeyRecord | None:
        """The key, or None when there is none of this id. Raises StoreUnavailable."""
        answer = await self._call(StoreOperation.READ, "GET", f"keys/{key_id}", answers={200, 404})
        return None if answer.status == 404 else _read(KeyRecord, answer)

    async def create_key(self, key_id: str, creation: KeyCreation) -> KeyRecord:
        """The new key. Raises StoreUnavailable, also when another key has this id."""
        answer = await self._call(
            StoreOperation.WRITE, "PUT", f"keys/{key_id}", content=creation.model_dump_json(), answers={200, 201}
        )
        return _read(KeyRecord, answer)

    async def change_key(self, key_id: str, operation: KeyOperation) -> KeyRecord | None:
        """The key after a change, or as it was revoked; None when there is none of this id. Raises StoreUnavailable."""
        content = operation.model_dump_json(exclude_unset=True)
        answer = await self._call(StoreOperation.WRITE, "PATCH", f"keys/{key_id}", content=content, answers={200, 404, 409})
        return None if answer.status == 404 else _read(KeyRecord, answer)

    async def rotate_key(self, key_id: str, rotation: KeyRotation) -> KeyRecord | None:
        """The key under its new digest, or as it was revoked; None when there is none of this id. Raises StoreUnavailable."""
        content = rotation.model_dump_json()
        answer = await self._call(StoreOperation.WRITE, "PUT", f"keys/{key_id}/digest", content=content, answers={200, 404, 409})
        return None if answer.status == 404 else _read(KeyRecord, answer)

    async def revoke_key(self, key_id: str, *, actor: str) -> KeyRecord | None:
        """The key, which nobody may use any more; None when there is none of this id. Raises StoreUnavailable."""
        answer = await self._call(StoreOperation.WRITE, "DELETE", f"keys/{key_id}", query={"actor": actor}, answers={200, 404})
        return None if answer.status == 404 else _read(KeyRecord, answer)

    async def read_overview(self) -> Overview:
        """The whole deployment at a glance, of all tenants. Raises StoreUnavailable."""
        return _read(Overview, await self._call(StoreOperation.READ, "GET", "overview", answers={200}))

    async def list_operations(self, *, limit: int, after: str | None) -> OperationPage:
        """What operators did, the newest first, from the one behind `after` on. Raises StoreUnavailable."""
        query = {"limit": str(limit), "after": after}
        return _read(OperationPage, await self._call(StoreOperation.LIST, "GET", "audit/operations", query=query, answers={200}))

    async def list_refusals(self, *, limit: int, after: str | None) -> RefusalPage:
        """Refused targets, the newest first, from the one behind `after` on. Raises StoreUnavailable."""
        query = {"limit": str(limit), "after": after}
        return _read(RefusalPage, await self._call(StoreOperation.LIST, "GET", "audit/refusals", query=query, answers={200}))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _call(
        self,
        operation: StoreOperation,
        method: str,
        path: str,
        *,
        answers: Collection[int],
        query: Mapping[str, str | None] | None = None,
        content: str | None = None,
        limit_bytes: int = DOCUMENT_LIMIT_BYTES,
        may_repeat: bool = False,
    ) -> _Answer:
        """One of the expected answers, whole. What is idempotent, or `may_repeat`, is tried again for `retry_seconds`.

        One more try is always made then, for a pooled connection that the store closed. Raises StoreUnavailable for any other
        answer, and for none.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = f"internal/v1/{path}" + (f"?{urlencode(given)}" if given else "")
        began = monotonic()
        try:
            answer = await self._ask(
                method, url, answers, content=content, limit_bytes=limit_bytes, may_repeat=may_repeat or method in IDEMPOTENT
            )
        except StoreUnavailable:
            self._metrics.note_store(operation, StoreResult.UNAVAILABLE, seconds=monotonic() - began)
            raise
        is_expected = answer.status in answers
        result = StoreResult.OK if is_expected else StoreResult.REFUSED
        self._metrics.note_store(operation, result, seconds=monotonic() - began)
        if not is_expected:
            raise StoreUnavailable(f"the store answered {answer.status}")
        return answer

    async def _ask(
        self, method: str, url: str, answers: Collection[int], *, content: str | None, limit_bytes: int, may_repeat: bool
    ) -> _Answer:
        """Any answer; whole when it is one of `answers`. Raises StoreUnavailable for none."""
        headers = trace_headers()
        if content is not None:
            headers["Content-Type"] = "application/json"
        ends_at, tries = monotonic() + self._retry_seconds, 0
        while True:
            tries += 1
            try:
                async with self._session.request(method, url, headers=headers, data=content, allow_redirects=False) as response:
                    is_read = response.status in answers
                    body = await _read_whole(response, limit_bytes=limit_bytes) if is_read else b""
                    return _Answer(response.status, response.headers, body)
            except (aiohttp.ClientError, OSError) as error:
                if not may_repeat or not isinstance(error, GONE) or (monotonic() >= ends_at and tries > 1):
                    raise StoreUnavailable(type(error).__name__) from error
            if tries > 1:
                await asyncio.sleep(RETRY_REST_SECONDS)


class _Redrive(BaseModel):
    actor: str


async def _read_whole(response: aiohttp.ClientResponse, *, limit_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            raise StoreUnavailable(f"the store's answer has more than {limit_bytes} bytes")
    return bytes(body)


def _read(model: type[Document], answer: _Answer) -> Document:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise StoreUnavailable("the store's answer cannot be read") from error
