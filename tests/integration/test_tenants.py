"""Two tenants of one running system: every route of its OpenAPI document, asked by the one about what is the other's."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from common.ids import new_fetch_id
from driver import CALL_TIMEOUT_SECONDS, Document, Driver
from origin import Origin
from tenant_walk import Kind, assert_only_operators, assert_strangers_see_nothing

ALL_BUT_ADMIN = ["fetch:read", "fetch:write", "store:read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A client with a key of its own tenant, seen as a driver."""

    driver: Driver
    openapi: Document


@asynccontextmanager
async def _tenant(driver: Driver, name: str) -> AsyncIterator[Tenant]:
    made = await driver.client.post("/v1/keys", json={"name": name, "tenant": name, "scopes": ALL_BUT_ADMIN})
    assert made.status_code == 201, made.text
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    async with httpx2.AsyncClient(
        base_url=driver.client.base_url, headers=headers, timeout=CALL_TIMEOUT_SECONDS, trust_env=False
    ) as client:
        openapi = (await client.get("/openapi.json")).raise_for_status().json()
        yield Tenant(driver=Driver(client=client, system=driver.system), openapi=openapi)


@pytest.fixture
async def tenants(driver: Driver) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """An owner and a stranger."""
    async with _tenant(driver, f"owner-{uuid4().hex[:8]}") as owner, _tenant(driver, f"stranger-{uuid4().hex[:8]}") as stranger:
        yield owner, stranger


async def _own(owner: Tenant, origin: Origin) -> dict[Kind, UUID]:
    """A finished fetch with content, and the batch that it came with."""
    line = json.dumps({"url": f"{origin.url}/page/{uuid4().hex}", "labels": ["mine"], "attrs": {"secret": "of the owner"}})
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await owner.driver.client.post("/v1/batches", content=line, headers=headers)
    assert answer.status_code == 202, answer.text
    listed: list[Any] = []
    while not listed:
        listed = (await owner.driver.client.get("/v1/fetches", params={"batch_id": answer.json()["id"]})).json()["items"]
    fetch = await owner.driver.finish(listed[0]["links"]["self"])
    assert fetch["status"] == "succeeded"
    return {Kind.FETCH: UUID(fetch["id"]), Kind.BATCH: UUID(answer.json()["id"])}


async def test_a_stranger_finds_nothing_on_any_route(tenants: tuple[Tenant, Tenant], origin: Origin) -> None:
    owner, stranger = tenants
    objects = await _own(owner, origin)
    walked = await assert_strangers_see_nothing(
        owner.openapi,
        owner=owner.driver.client,
        stranger=stranger.driver.client,
        objects=objects,
        unknown=new_fetch_id(),
    )
    assert {operation.kind for operation in walked} == set(objects) and len(walked) >= 7
    for query in ({}, {"label": "mine"}, {"batch_id": str(objects[Kind.BATCH])}, {"host": origin.host}, {"status": "succeeded"}):
        assert (await stranger.driver.client.get("/v1/fetches", params=query)).json()["items"] == []
    events = (await stranger.driver.client.get("/v1/events", params={"after": "0"})).json()
    assert events["items"] == []
    assert len((await owner.driver.client.get("/v1/events", params={"after": "0"})).json()["items"]) >= 1


async def test_who_is_no_operator_is_refused_on_their_routes(tenants: tuple[Tenant, Tenant]) -> None:
    owner, _ = tenants
    walked = await assert_only_operators(owner.openapi, client=owner.driver.client)
    assert len(walked) >= 8


async def test_tenants_share_no_response(tenants: tuple[Tenant, Tenant], origin: Origin) -> None:
    """One asked a moment ago; the other asks for a response of any age and is fetched its own."""
    owner, stranger = tenants
    path = f"/page/{uuid4().hex}"
    for tenant in (owner, owner, stranger):
        document = await tenant.driver.fetch(f"{origin.url}{path}", max_age_seconds=3600)
        assert document["status"] == "succeeded"
    assert document["served_by"] == {"kind": "live", "fetch_id": document["id"], "age_seconds": 0.0}
    assert (await origin.hits(path))[path] == 2
