"""The audit log over REST: what operators did and which targets were refused, in pages, the newest first."""

from typing import Any

import httpx2
import pytest
from common.clock import utc_now
from common.contracts.audit import OperationView, RefusalView
from common.ids import new_fetch_id
from gateway_words import assert_problem


@pytest.fixture
def logged(gateway: Any) -> None:
    """Three entries in each log."""
    keys = gateway.store.keys
    keys.operations += [
        OperationView(id=n, at=utc_now(), actor="key:x", action="key.revoke", subject=f"k{n}", detail={"n": n}) for n in (1, 2, 3)
    ]
    keys.refusals += [
        RefusalView(
            id=n, at=utc_now(), fetch_id=new_fetch_id(), attempt=1, host=f"h{n}", verdict="deny_private", addresses=["10.0.0.1"]
        )
        for n in (1, 2, 3)
    ]


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(("kind", "entry", "member"), [("operations", "operation", "subject"), ("refusals", "refusal", "host")])
async def test_pages_follow_each_other(client: httpx2.AsyncClient, kind: str, entry: str, member: str) -> None:
    first = await client.get("/v1/audit", params={"kind": kind, "limit": 2})
    assert first.status_code == 200 and first.headers["cache-control"] == "no-store"
    items = first.json()["items"]
    assert [(item["kind"], item["id"], item[member][1:]) for item in items] == [(entry, 3, "3"), (entry, 2, "2")]
    assert items[0].get("detail", {"n": 3}) == {"n": 3} and items[0].get("addresses", ["10.0.0.1"]) == ["10.0.0.1"]
    second = await client.get(first.links["next"]["url"])
    assert [item["id"] for item in second.json()["items"]] == [1] and second.json()["next_cursor"] is None
    other = {"kind": "refusals" if kind == "operations" else "operations", "cursor": first.json()["next_cursor"]}
    assert_problem(await client.get("/v1/audit", params=other), 400, "cursor-mismatch")


@pytest.mark.usefixtures("logged")
async def test_without_a_kind_operations_are_shown(client: httpx2.AsyncClient) -> None:
    assert {item["kind"] for item in (await client.get("/v1/audit")).json()["items"]} == {"operation"}
    [error] = assert_problem(await client.get("/v1/audit?kind=x"), 422, "invalid-request")["errors"]
    assert error["parameter"] == "kind"
