"""Tenants see nothing of each other, on any route that there is; what is shared is for operators."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uvicorn
from common.clock import utc_now
from common.contracts.fetches import AcceptedFetch, FetchRequest, FetchStatus
from common.contracts.keys import Scope
from common.ids import new_fetch_id
from common.streams.names import ACCEPTED_STREAM
from fastapi import FastAPI
from gateway_words import KEY
from little_store import TOKEN, host_view
from redis.asyncio import Redis
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection
from tenant_walk import OBJECTS, Kind, Operation, assert_only_operators, assert_strangers_see_nothing, operations

from gateway.app import create_app
from gateway.parts import open_means
from gateway.principal import EVERY_SCOPE, Principal
from gateway.settings import GatewaySettings

START_SECONDS = 10
PRINCIPALS = {
    tenant: Principal(actor=f"key:{tenant}", tenant=tenant, key_id=f"{tenant:0<12}", scopes=EVERY_SCOPE - {Scope.ADMIN})
    for tenant in ("owner", "stranger")
}


class SecondAuthentication:
    """Innermost: makes of a request with the first key one of the tenant that the header X-Tenant names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass the request on as another principal's."""
        tenant = dict(scope.get("headers", [])).get(b"x-tenant", b"").decode()
        if tenant in PRINCIPALS:
            scope["state"]["principal"] = PRINCIPALS[tenant]
        await self._app(scope, receive, send)


@dataclass(frozen=True)
class Tenants:
    """An application on a socket, with a client of each tenant."""

    app: FastAPI
    owner: httpx2.AsyncClient
    stranger: httpx2.AsyncClient


@pytest.fixture
async def tenants(gateway: Any, events_url: str) -> AsyncIterator[Tenants]:
    """The gateway's own application over the same Redis and store, which knows two tenants."""
    settings = GatewaySettings.model_validate(
        {"api_key": KEY, "events_url": events_url, "store_url": gateway.store_url, "store_token": TOKEN, "metrics_port": 0}
    )
    async with open_means(settings, clock=utc_now) as means:
        app = create_app(means, settings)
        app.user_middleware.append(Middleware(SecondAuthentication))
        async with _served(app) as url:
            async with _client(url, "owner") as owner, _client(url, "stranger") as stranger:
                yield Tenants(app, owner, stranger)


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(START_SECONDS):
        while not server.started:
            await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await asyncio.wait_for(serving, START_SECONDS)


def _client(url: str, tenant: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {KEY}", "X-Tenant": tenant}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=10)


def _keep(gateway: Any, status: FetchStatus) -> dict[Kind, UUID]:
    """A fetch of the owner, with a batch that it came with."""
    batch_id = new_fetch_id()
    fetch_id = gateway.store.keep(b"secret", status=status, tenant="owner", batch_id=batch_id)
    gateway.store.accepted[fetch_id] = AcceptedFetch(
        id=fetch_id, host="a.test", accepted_at=utc_now(), request=FetchRequest(url="http://a.test/"), tenant="owner"
    )
    return {Kind.FETCH: fetch_id, Kind.BATCH: batch_id}


@pytest.mark.parametrize("status", [FetchStatus.SUCCEEDED, FetchStatus.RUNNING])
async def test_what_is_in_the_ledger_is_nothing_to_strangers(
    tenants: Tenants, gateway: Any, events: Redis, status: FetchStatus
) -> None:
    objects = _keep(gateway, status)
    walked = await assert_strangers_see_nothing(
        tenants.app.openapi(), owner=tenants.owner, stranger=tenants.stranger, objects=objects, unknown=new_fetch_id()
    )
    assert {(operation.method, operation.template) for operation in walked} >= {
        ("GET", "/v1/fetches/{fetch_id}"), ("DELETE", "/v1/fetches/{fetch_id}"), ("POST", "/v1/fetches/{fetch_id}/retry"),
        ("GET", "/v1/fetches/{fetch_id}/content"), ("HEAD", "/v1/fetches/{fetch_id}/content"),
    }
    asked = [query["tenant"] for _, path, query, _ in gateway.store.asked if path.startswith("/internal/v1/fetches")]
    assert set(asked) == {"owner", "stranger"}
    assert await events.xlen(ACCEPTED_STREAM) == (status is FetchStatus.SUCCEEDED)  # the owner's own retry, at the end


async def test_what_is_only_promised_is_nothing_to_strangers(tenants: Tenants, events: Redis) -> None:
    promised = (await tenants.owner.post("/v1/fetches", json={"url": "http://a.test/"})).json()
    await assert_strangers_see_nothing(
        tenants.app.openapi(),
        owner=tenants.owner,
        stranger=tenants.stranger,
        objects={Kind.FETCH: UUID(promised["id"])},
        unknown=new_fetch_id(),
    )
    assert await events.xlen(ACCEPTED_STREAM) == 1


async def test_lists_show_ones_own(tenants: Tenants, gateway: Any) -> None:
    objects = _keep(gateway, FetchStatus.SUCCEEDED)
    for query in ("", "?status=succeeded", "?host=a.test", f"?batch_id={objects[Kind.BATCH]}"):
        assert len((await tenants.owner.get(f"/v1/fetches{query}")).json()["items"]) == 1
        assert (await tenants.stranger.get(f"/v1/fetches{query}")).json() == {"items": [], "next_cursor": None}


async def test_a_cursor_of_one_tenant_is_none_of_another(tenants: Tenants, gateway: Any) -> None:
    for _ in range(2):
        _keep(gateway, FetchStatus.SUCCEEDED)
    cursor = (await tenants.owner.get("/v1/fetches?limit=1")).json()["next_cursor"]
    assert (await tenants.stranger.get("/v1/fetches", params={"cursor": cursor})).status_code == 400


async def test_what_is_shared_is_for_operators(tenants: Tenants, gateway: Any) -> None:
    gateway.store.hosts["1"] = host_view("1")
    walked = await assert_only_operators(tenants.app.openapi(), client=tenants.stranger)
    assert {operation.template for operation in walked} >= {
        "/v1/hosts", "/v1/hosts/{host}", "/v1/dead-letters", "/v1/dead-letters/{dead_letter_id}/redrive"
    }
    assert gateway.store.asked == []


def test_a_route_with_an_object_that_nobody_described_fails_the_walk() -> None:
    assert [*operations({"paths": {"/v1/fetches": {"get": {}, "parameters": []}}})] == [
        Operation(method="GET", template="/v1/fetches", kind=None)
    ]
    with pytest.raises(KeyError, match="/v1/secrets/{secret_id}"):
        list(operations({"paths": {"/v1/secrets/{secret_id}": {"get": {}}}}))


async def test_no_description_outlives_its_route(tenants: Tenants) -> None:
    assert OBJECTS.keys() - tenants.app.openapi()["paths"].keys() <= {"/v1/batches/{batch_id}"}
