"""The store's internal API of keys and of the audit log, played over what a test puts into it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp import web
from common.clock import utc_now
from common.contracts.audit import OperationPage, OperationView, RefusalPage, RefusalView
from common.contracts.keys import (
    KeyChange,
    KeyChanges,
    KeyCreation,
    KeyLimits,
    KeyOperation,
    KeyPage,
    KeyRecord,
    KeyRotation,
    KeyUse,
    KeyUses,
)
from pydantic import BaseModel


def _json(document: BaseModel, *, status: int = 200) -> web.Response:
    return web.Response(text=document.model_dump_json(), content_type="application/json", status=status)


@dataclass
class LittleKeys:
    """Keys by id under growing revisions, what was told of their use, and the two logs."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    revision: int = 0
    readings: int = 0
    uses: list[KeyUse] = field(default_factory=list)
    operations: list[OperationView] = field(default_factory=list)
    refusals: list[RefusalView] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything but the keys, which nobody deletes: gateways go on from their revisions."""
        for told in (self.uses, self.operations, self.refusals):
            told.clear()

    def routes(self) -> list[web.RouteDef]:
        """The routes of keys and of the audit log."""
        return [
            web.get("/internal/v1/keys", self.list_changes),
            web.get("/internal/v1/keys/page", self.list_keys),
            web.post("/internal/v1/keys/used", self.report_uses),
            web.get("/internal/v1/keys/{id}", self.get_key),
            web.put("/internal/v1/keys/{id}", self.create),
            web.patch("/internal/v1/keys/{id}", self.change),
            web.put("/internal/v1/keys/{id}/digest", self.rotate),
            web.delete("/internal/v1/keys/{id}", self.revoke),
            web.get("/internal/v1/audit/operations", self.list_operations),
            web.get("/internal/v1/audit/refusals", self.list_refusals),
        ]

    def put(self, record: KeyRecord, **update: Any) -> KeyRecord:
        """The key, changed, under the next revision."""
        self.revision += 1
        self.records[record.id] = record.model_copy(update={**update, "revision": self.revision})
        return self.records[record.id]

    async def list_changes(self, request: web.Request) -> web.Response:
        """Keys that changed after a revision."""
        self.readings += 1
        after, limit = int(request.query["after_revision"]), int(request.query["limit"])
        changed = sorted((key for key in self.records.values() if key.revision > after), key=lambda key: key.revision)
        return _json(KeyChanges(keys=changed[:limit], latest_revision=self.revision))

    async def list_keys(self, request: web.Request) -> web.Response:
        """A page of keys in the order of their ids."""
        limit, after, tenant = int(request.query["limit"]), request.query.get("after", ""), request.query.get("tenant")
        found = sorted((key for key in self.records.values() if tenant in (None, key.tenant)), key=lambda key: key.id)
        found = [key for key in found if key.id > after]
        page = found[:limit]
        return _json(KeyPage(items=page, next_cursor=page[-1].id if len(found) > limit else None))

    async def report_uses(self, request: web.Request) -> web.Response:
        """Take what a gateway tells."""
        self.uses += KeyUses.model_validate_json(await request.read()).uses
        return web.Response(status=204)

    async def get_key(self, request: web.Request) -> web.Response:
        """One key."""
        record = self.records.get(request.match_info["id"])
        return _json(record) if record else web.Response(status=404)

    async def create(self, request: web.Request) -> web.Response:
        """A new key, unless there is one of this id."""
        key_id, creation = request.match_info["id"], KeyCreation.model_validate_json(await request.read())
        known = self.records.get(key_id)
        if known is not None:
            return _json(known, status=200 if known.digest == creation.digest else 409)
        members = dict(creation) | {"id": key_id, "created_by": creation.actor, "created_at": utc_now(), "revision": 0}
        return _json(self.put(KeyRecord(**members)), status=201)

    async def change(self, request: web.Request) -> web.Response:
        """A key after a change."""
        change = KeyOperation.model_validate_json(await request.read()).change
        return await self._step(request, lambda record: _changed(record, change))

    async def rotate(self, request: web.Request) -> web.Response:
        """A key under a new digest."""
        rotation = KeyRotation.model_validate_json(await request.read())
        until = utc_now() + timedelta(seconds=rotation.overlap_seconds) if rotation.overlap_seconds else None

        def rotated(record: KeyRecord) -> dict[str, Any]:
            previous = {"previous_digest": record.digest if until else None, "previous_until": until}
            return previous | {"digest": rotation.digest, "rotated_at": utc_now()}

        return await self._step(request, rotated)

    async def revoke(self, request: web.Request) -> web.Response:
        """A key that is revoked from now on, or was before."""
        answer = await self._step(request, lambda _: {"revoked_at": utc_now()})
        return _json(self.records[request.match_info["id"]]) if answer.status == 409 else answer

    async def list_operations(self, request: web.Request) -> web.Response:
        """A page of what operators did."""
        items, position = _page(self.operations, request)
        return _json(OperationPage(items=items, next_cursor=position))

    async def list_refusals(self, request: web.Request) -> web.Response:
        """A page of refused targets."""
        items, position = _page(self.refusals, request)
        return _json(RefusalPage(items=items, next_cursor=position))

    async def _step(self, request: web.Request, step: Callable[[KeyRecord], dict[str, Any]]) -> web.Response:
        record = self.records.get(request.match_info["id"])
        if record is None:
            return web.Response(status=404)
        return _json(record, status=409) if record.revoked_at else _json(self.put(record, **step(record)))


def _changed(record: KeyRecord, change: KeyChange) -> dict[str, Any]:
    update = {name: getattr(change, name) for name in change.model_fields_set}
    if "limits" in update:
        given = change.limits.model_dump(exclude_unset=True) if change.limits else {}
        update["limits"] = record.limits.model_copy(update=given) if change.limits else KeyLimits()
    return update


def _page(entries: Sequence[Any], request: web.Request) -> tuple[list[Any], str | None]:
    limit, after = int(request.query["limit"]), int(request.query.get("after", 2**62))
    found = sorted((entry for entry in entries if entry.id < after), key=lambda entry: entry.id, reverse=True)
    return found[:limit], str(found[limit - 1].id) if len(found) > limit else None
