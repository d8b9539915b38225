"""Calls to the store: what may be done twice is tried twice, and whatever goes wrong has one name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from common.clock import utc_now
from common.contracts.dead_letters import DeadLetterView
from common.contracts.fetches import AcceptedFetch, FetchRequest, FetchStatus
from common.contracts.hosts import HostChange, HostOperation, HostState
from common.contracts.keys import KeyChange, KeyCreation, KeyOperation, KeyRotation, KeyUses, Scope
from common.contracts.plans import PlanInquiry
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from gateway_words import key_record, new_key
from little_store import TOKEN, host_view

from gateway.errors import StoreUnavailable
from gateway.metrics import GatewayMetrics
from gateway.store_client import DOCUMENT_LIMIT_BYTES, StoreClient

ID = new_fetch_id()
OPERATION = HostOperation(actor="a", change=HostChange(state=HostState.PAUSED))
KEY = new_key()
CREATION = KeyCreation(actor="a", tenant="acme", name="a key", scopes=frozenset(Scope), digest=KEY.digest)
Call = Callable[[StoreClient], Awaitable[object]]
IDEMPOTENT: dict[str, Call] = {
    "read_fetch": lambda store: store.read_fetch(ID, tenant="default"),
    "cancel_fetch": lambda store: store.cancel_fetch(ID, tenant="default"),
    "list_fetches": lambda store: store.list_fetches(tenant="default", limit=5),
    "read_request": lambda store: store.read_request(ID, tenant="default"),
    "read_content": lambda store: store.read_content(ID, tenant="default"),
    "list_hosts": lambda store: store.list_hosts(limit=5, after=None, state=None),
    "read_host": lambda store: store.read_host("a.test"),
    "change_host": lambda store: store.change_host("a.test", OPERATION),
    "list_dead_letters": lambda store: store.list_dead_letters(limit=5, after=None),
    "plan": lambda store: store.plan(PlanInquiry(hosts=["a.test"], origins=["http://a.test"])),
    "list_keys": lambda store: store.list_keys(tenant=None, limit=5, after=None),
    "read_key": lambda store: store.read_key(KEY.id),
    "create_key": lambda store: store.create_key(KEY.id, CREATION),
    "change_key": lambda store: store.change_key(KEY.id, KeyOperation(actor="a", change=KeyChange(name="x"))),
    "rotate_key": lambda store: store.rotate_key(KEY.id, KeyRotation(actor="a", digest=KEY.digest)),
    "revoke_key": lambda store: store.revoke_key(KEY.id, actor="a"),
    "list_operations": lambda store: store.list_operations(limit=5, after=None),
    "list_refusals": lambda store: store.list_refusals(limit=5, after=None),
}
PATCHES = {"change_host", "change_key", "plan"}
EVERY: dict[str, Call] = IDEMPOTENT | {
    "redrive": lambda store: store.redrive(1, actor="a"),
    "read_key_changes": lambda store: store.read_key_changes(after_revision=0, limit=5),
    "report_key_uses": lambda store: store.report_key_uses(KeyUses(uses=[])),
}


@pytest.fixture
async def store(gateway: Any) -> AsyncIterator[StoreClient]:
    """A client without open connections, over a store that has one of everything."""
    view = FetchView(id=ID, url="http://a.test/", status=FetchStatus.QUEUED, created_at=utc_now())
    gateway.store.views[ID] = view.model_dump_json()
    gateway.store.contents[ID] = ({"X-Fetch-Status": "queued"}, None)
    request = FetchRequest(url="http://a.test/")
    gateway.store.accepted[ID] = AcceptedFetch(id=ID, host="a.test", accepted_at=utc_now(), request=request)
    gateway.store.hosts["a.test"] = host_view("a.test")
    gateway.store.dead_letters[1] = DeadLetterView(
        id=1, stream="s", entry_id="1-0", reason="r", created_at=utc_now(), size_bytes=2, text="{}"
    )
    gateway.store.keys.put(key_record(KEY, now=utc_now()))
    client = StoreClient(base_url=gateway.store_url, token=TOKEN, timeout_seconds=5, metrics=GatewayMetrics())
    yield client
    await client.close()


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_what_may_be_done_twice_survives_one_lost_connection_and_not_two(
    gateway: Any, store: StoreClient, name: str
) -> None:
    gateway.store.hangs_up = lost = 1 if name in PATCHES else 2  # aiohttp repeats all others by itself
    assert await IDEMPOTENT[name](store) is not None
    assert len(gateway.store.asked) == lost + 1
    gateway.store.hangs_up = 9
    with pytest.raises(StoreUnavailable):
        await IDEMPOTENT[name](store)


@pytest.mark.parametrize(
    ("answered", "status"), [(200, "queued"), (200, "succeeded"), (409, "running"), (409, "cancelled")]
)
async def test_a_cancellation_that_contradicts_itself_is_none(
    gateway: Any, store: StoreClient, answered: int, status: str
) -> None:
    view = FetchView(id=ID, url="http://a.test/", status=FetchStatus(status), created_at=utc_now())
    gateway.store.views[ID] = view.model_dump_json()
    gateway.store.cancels_with = answered
    with pytest.raises(StoreUnavailable, match=status):
        await store.cancel_fetch(ID, tenant="default")


async def test_a_read_finds_another_store_behind_the_same_name(gateway: Any, unused_tcp_port: int) -> None:
    patient, hasty = (
        StoreClient(
            base_url=f"http://127.0.0.1:{unused_tcp_port}",
            token=TOKEN,
            timeout_seconds=20,
            retry_seconds=seconds,
            metrics=GatewayMetrics(),
        )
        for seconds in (20, 0)
    )
    connections = 0

    async def answer_the_third(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 3:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    reading = asyncio.create_task(patient.read_fetch(ID, tenant="default"))
    with pytest.raises(StoreUnavailable, match="ClientConnectorError"):
        await hasty.read_fetch(ID, tenant="default")
    assert not reading.done()
    async with await asyncio.start_server(answer_the_third, "127.0.0.1", unused_tcp_port):
        assert await reading is None and connections == 3
    await patient.close()
    await hasty.close()


async def test_a_message_is_put_back_once(gateway: Any, store: StoreClient) -> None:
    gateway.store.hangs_up = 1
    with pytest.raises(StoreUnavailable):
        await store.redrive(1, actor="a")
    assert len(gateway.store.asked) == 1
    assert await store.redrive(1, actor="a") is not None


@pytest.mark.parametrize("name", EVERY)
async def test_a_refusal_has_the_same_name_as_no_answer(gateway: Any, store: StoreClient, name: str) -> None:
    gateway.store.is_broken = True
    with pytest.raises(StoreUnavailable, match="503"):
        await EVERY[name](store)
    away = StoreClient(base_url="http://127.0.0.1:1", token=TOKEN, timeout_seconds=1, metrics=GatewayMetrics())
    with pytest.raises(StoreUnavailable):
        await EVERY[name](away)
    await away.close()


async def test_the_store_learns_who_asks_and_that_hosts_are_known(gateway: Any, store: StoreClient) -> None:
    await store.read_fetch(ID, tenant="default")
    assert gateway.store.asked == [
        ("GET", f"/internal/v1/fetches/{ID}", {"tenant": "default", "knows_hosts": "true"}, None)
    ]


async def test_an_answer_over_the_limit_is_not_read(gateway: Any, store: StoreClient) -> None:
    fitting = gateway.store.views[ID]
    gateway.store.views[ID] = fitting + " " * (DOCUMENT_LIMIT_BYTES - len(fitting))
    assert await store.read_fetch(ID, tenant="default") is not None
    gateway.store.views[ID] += " "
    with pytest.raises(StoreUnavailable, match="more than"):
        await store.read_fetch(ID, tenant="default")


@pytest.mark.parametrize("headers", [{}, {"X-Fetch-Status": "odd"}, {"X-Fetch-Status": "succeeded", "X-Content-Size-Bytes": "x"}])
async def test_headers_that_cannot_be_read_have_the_same_name(gateway: Any, store: StoreClient, headers: dict[str, str]) -> None:
    gateway.store.contents[ID] = (headers, b"x")
    with pytest.raises(StoreUnavailable, match="headers"):
        await store.read_content(ID, tenant="default")


async def test_a_document_that_cannot_be_read_has_the_same_name(gateway: Any, store: StoreClient) -> None:
    gateway.store.views[ID] = "{}"
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.read_fetch(ID, tenant="default")
