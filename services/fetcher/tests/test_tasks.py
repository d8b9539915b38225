"""Batches: started as slots come free, never waited for; dropped when their lease has ended."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from aiohttp import web
from common.contracts.fetches import ErrorType, OutcomeKind
from tasks_rig import message_of

from fetcher.egress.budgets import Budgets

pytest_plugins = ["tasks_fixtures"]

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Gate:
    """An origin that answers only when it is told to."""

    def __init__(self) -> None:
        self.open, self.waiting, self.most = asyncio.Event(), 0, 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.open.wait()
        self.waiting -= 1
        return web.Response(text="ok")


async def test_batch_returns_before_its_attempts_end(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate, it = Gate(), rig()
    base = await serve({"/": gate.answer})
    await asyncio.wait_for(it.take(command(base), command(base)), timeout=2)
    assert it.published.outcomes == []
    gate.open.set()
    await until(lambda: len(it.published.outcomes) == 2)
    await until(lambda: it.slots.free == 8)


async def test_one_slow_fetch_holds_up_neither_its_batch_nor_the_next(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate, it = Gate(), rig(slots=2)

    async def quick(_request: web.Request) -> web.Response:
        return web.Response()

    base = await serve({"/slow": gate.answer, "/quick": quick})
    await it.take(command(f"{base}/slow"), *(command(f"{base}/quick") for _ in range(5)))
    await it.take(*(command(f"{base}/quick") for _ in range(5)))
    await until(lambda: len(it.published.outcomes) == 10)
    assert it.slots.busy == 1
    gate.open.set()


async def test_full_slots_block_the_thread_that_brings_more(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate, it = Gate(), rig(slots=3)
    base = await serve({"/": gate.answer})
    taking = asyncio.create_task(it.take(*(command(base) for _ in range(7))))
    await until(lambda: gate.waiting == 3)
    assert not taking.done()
    assert (it.sample("fetcher_slots", state="busy"), it.sample("fetcher_slots", state="free")) == (3, 0)
    gate.open.set()
    await asyncio.wait_for(taking, timeout=5)
    await until(lambda: len(it.published.outcomes) == 7)
    assert gate.most <= 3


async def test_command_waits_for_a_slot_no_longer_than_its_lease(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate, it = Gate(), rig(slots=1)
    base = await serve({"/": gate.answer})
    await it.take(command(base), command(base, lease_seconds=0.2))
    assert it.sample("commands_dropped_total", reason="lease_ended") == 1
    gate.open.set()
    await until(lambda: len(it.published.outcomes) == 1)


async def test_command_whose_lease_has_ended_is_dropped_unseen(rig: Any, serve_raw: Any, command: Any, until: Until) -> None:
    it = rig()
    origin = await serve_raw(lambda _reader, _writer: asyncio.sleep(0))
    with structlog.testing.capture_logs() as logs:
        await it.take(command(origin.url(), lease_seconds=-0.01))
        await until(lambda: it.sample("commands_dropped_total", reason="lease_ended") == 1)
    await until(lambda: it.slots.free == 8)
    assert origin.connections == []
    assert [line["event"] for line in logs] == ["command dropped"]


@pytest.mark.parametrize("message", ["", "{", "[]", "null", '{"id": "1", "secret": "hunter2"}', None, 7])
async def test_message_that_is_no_command_is_counted_and_never_quoted(message: Any, rig: Any) -> None:
    it = rig()
    with structlog.testing.capture_logs() as logs:
        it.tasks.take_batch(message)
    assert it.sample("commands_rejected_total", reason="undecodable") == 1
    assert [line["event"] for line in logs] == ["command rejected"]
    assert "hunter2" not in str(logs)


async def test_command_of_a_later_version_is_rejected(rig: Any, command: Any) -> None:
    it = rig()
    it.tasks.take_batch(message_of(command("http://127.0.0.1/"), type="fetch.perform.v2"))
    assert it.sample("commands_rejected_total", reason="unknown_type") == 1


async def test_unknown_fields_of_a_newer_store_are_ignored(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    it = rig()
    newer = message_of(command(await serve({"/": answer}))).replace('"dispatch_seq"', '"colour":"blue","dispatch_seq"')
    await asyncio.to_thread(it.tasks.take_batch, newer)
    await until(lambda: it.published.outcomes)


async def test_outcome_names_its_command_and_its_trace(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.Response(text="ok")

    it, asked = rig(), command(await serve({"/": answer}), traceparent=PARENT)
    with structlog.testing.capture_logs() as logs:
        await it.take(asked)
        await until(lambda: it.published.publications)
    event = it.published.publications[0].event
    assert (event.type, event.subject, event.data.id) == ("fetch.attempted.v1", str(asked.id), asked.id)
    assert (event.data.dispatch_seq, event.data.worker) == (asked.dispatch_seq, "w-1")
    assert event.data.started_at <= event.data.finished_at
    assert "traceparent" not in seen[0]
    [line] = [line for line in logs if line["event"] == "attempt finished"]
    assert (line["fetch_id"], line["outcome"], line["status"]) == (str(asked.id), "fetched", 200)
    assert (line["verdict"], line["decoded_bytes"], line["error"]) == ("unsafe_network", 2, None)
    assert it.sample("attempt_duration_seconds_count", phase="total") == 1


async def test_refusal_is_counted_by_its_reason(rig: Any, command: Any, until: Until) -> None:
    it = rig()
    await it.take(command("http://10.0.0.1/"))
    await until(lambda: it.published.outcomes)
    assert it.sample("egress_refused_total", reason="deny_private") == 1


async def test_limit_that_ended_an_attempt_is_counted_and_logged(
    rig: Any, serve_raw: Any, make_client: Any, command: Any, until: Until
) -> None:
    it = rig(client=make_client(budgets=Budgets(first_byte_seconds=0.05)))
    origin = await serve_raw(lambda reader, _writer: reader.read())
    with structlog.testing.capture_logs() as logs:
        await it.take(command(origin.url(), method="PATCH"))
        [attempted] = await until(lambda: it.published.outcomes)
    assert not attempted.outcome.is_retryable
    assert it.sample("budget_exceeded_total", reason="first_byte") == 1
    assert it.sample("budget_exceeded_total", reason="idle") == 0
    [line] = [line for line in logs if line["event"] == "attempt finished"]
    assert (line["exceeded"], line["method"], line["robots"]) == ("first_byte", "PATCH", "ignored")


async def test_our_own_fault_is_an_internal_outcome(rig: Any, make_client: Any, command: Any, until: Until) -> None:
    def broken(*_: int) -> Any:
        raise OSError(24, "Too many open files")

    it = rig(client=make_client(open_socket=broken))
    with structlog.testing.capture_logs() as logs:
        await it.take(command("http://127.0.0.1:9/"))
        [attempted] = await until(lambda: it.published.outcomes)
    assert logs[0]["event"] == "attempt broke" and logs[0]["exc_info"]
    assert (attempted.outcome.kind, attempted.outcome.is_retryable) == (OutcomeKind.FAILED, True)
    assert attempted.outcome.error is not None and attempted.outcome.error.type is ErrorType.INTERNAL
    assert "files" not in attempted.outcome.error.detail
    await until(lambda: it.slots.free == 8)


async def test_finish_waits_for_running_attempts_then_lets_go(rig: Any, serve: Serve, command: Any, until: Until) -> None:
    gate, it = Gate(), rig()
    base = await serve({"/": gate.answer})
    await it.take(command(base), command(base))
    await until(lambda: gate.waiting == 2)
    finishing = asyncio.create_task(it.tasks.finish(seconds=5))
    gate.open.set()
    await finishing
    assert len(it.published.outcomes) == 2
    gate.open.clear()
    await it.take(command(base))
    await until(lambda: gate.waiting == 1)
    await it.tasks.finish(seconds=0.05)
    assert len(it.published.outcomes) == 2 and it.slots.free == 8
    assert it.sample("commands_dropped_total", reason="stopping") == 1
