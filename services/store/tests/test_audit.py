"""What operators did and which targets were refused, read in pages, the newest first."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from api_words import Caller, open_caller
from common.contracts.audit import OperationPage, RefusalPage
from common.ids import new_fetch_id
from ledger_words import at
from redis.asyncio import Redis
from store.database import Pool, fetch_rows, in_transaction
from store.operator_log import log_operation

PATH = "/internal/v1/audit"


@pytest.fixture
async def caller(pool: Pool, events: Redis) -> AsyncIterator[Caller]:
    """An operator's gateway."""
    async with open_caller(pool, events) as opened:
        yield opened


async def _page(caller: Caller, kind: str, **query: Any) -> dict[str, Any]:
    answer = await caller.http.get(f"{PATH}/{kind}", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_operations_are_read_the_newest_first(caller: Caller, pool: Pool) -> None:
    for number in range(3):
        await in_transaction(
            pool,
            lambda c, n=number: log_operation(
                c, actor="op", action="host.change", subject=f"{n}.test", detail={"n": [n]}, now=at(n)
            ),
        )
    first = OperationPage.model_validate(await _page(caller, "operations", limit=2))
    assert [(entry.subject, entry.at, entry.detail) for entry in first.items] == [
        ("2.test", at(2), {"n": [2]}),
        ("1.test", at(1), {"n": [1]}),
    ]
    rest = OperationPage.model_validate(await _page(caller, "operations", limit=2, after=first.next_cursor))
    assert ([entry.subject for entry in rest.items], rest.next_cursor) == (["0.test"], None)


async def test_refusals_are_read_with_their_addresses(caller: Caller, pool: Pool) -> None:
    fetch_id = new_fetch_id()
    columns = "at, fetch_id, attempt, host, verdict, addresses"
    for number in range(3):
        await fetch_rows(
            pool, f"INSERT INTO audit_log ({columns}) VALUES ($1, $2, $3, 'h', 'deny_private', '{{10.0.0.1}}')",  # noqa: S608
            at(number), fetch_id, number,
        )
    first = RefusalPage.model_validate(await _page(caller, "refusals", limit=2))
    assert [(entry.attempt, entry.host, entry.addresses, entry.peer) for entry in first.items] == [
        (2, "h", ["10.0.0.1"], None),
        (1, "h", ["10.0.0.1"], None),
    ]
    rest = RefusalPage.model_validate(await _page(caller, "refusals", limit=2, after=first.next_cursor))
    assert ([entry.attempt for entry in rest.items], rest.next_cursor) == ([0], None)


async def test_strangers_read_nothing(caller: Caller) -> None:
    for kind in ("operations", "refusals"):
        assert (await caller.http.get(f"{PATH}/{kind}", headers={"Authorization": ""})).status_code == 401
        assert (await caller.http.get(f"{PATH}/{kind}", params={"limit": 201})).status_code == 422
