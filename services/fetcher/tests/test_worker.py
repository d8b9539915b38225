"""The real process: `python -m fetcher` between a real broker, a real events Redis and real origins."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aiohttp import web
from celery import Celery
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchAttempted
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE, SLOWDOWN_CHANNEL, WORKER_KEY_PREFIX
from fetchwork_local.ports import free_port
from fetchwork_local.servers import embedded_redis
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from tasks_rig import train_of
from worker_rig import Gate, Worker, message_of

from fetcher.politeness.slowdowns import Slowdown

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
pytest_plugins = ("worker_fixtures",)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def _attempts(events: Redis) -> list[tuple[FetchAttempted, bytes | None]]:
    entries = await events.xrange(ATTEMPTED_STREAM)
    return [
        (Envelope[FetchAttempted].model_validate_json(fields[b"event"]).data, fields.get(b"body")) for _, fields in entries
    ]


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello", content_type="text/plain")


async def test_command_becomes_an_outcome(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, until: Until
) -> None:
    base = await serve({"/": _hello})
    asked = command(base, traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")
    await send(asked, command("http://169.254.169.254/latest/meta-data/"), command(f"{base}/", lease_seconds=-1))
    attempts = await until(lambda: _two(events))
    by_id = {attempted.id: (attempted, body) for attempted, body in attempts}
    attempted, body = by_id[asked.id]
    assert attempted.outcome.response is not None and attempted.outcome.response.status == 200
    assert zstandard.decompress(body or b"") == b"hello"
    refused = next(other for other, _ in attempts if other.id != asked.id)
    assert refused.outcome.error is not None and refused.outcome.error.type == "refused_address"
    envelopes = [json.loads(fields[b"event"]) for _, fields in await events.xrange(ATTEMPTED_STREAM)]
    assert TRACE_ID in next(envelope["traceparent"] for envelope in envelopes if envelope["subject"] == str(asked.id))
    [line] = [row for row in worker.lines("attempt finished") if row["fetch_id"] == str(asked.id)]
    assert (line["trace_id"], line["outcome"], line["host"]) == (TRACE_ID, "fetched", base.removeprefix("http://"))
    metrics = await worker.operations("/metrics")
    assert 'fetchwork_commands_dropped_total{reason="lease_ended"} 1.0' in metrics
    assert 'fetchwork_egress_refused_total{reason="deny_link_local"} 1.0' in metrics
    assert 'fetchwork_fetcher_slots{state="free"} 4.0' in metrics and "fetchwork_build_info{" in metrics
    assert "[+]events ok" in await worker.operations("/readyz?verbose")


async def _two(events: Redis) -> Any:
    attempts = await _attempts(events)
    return attempts if len(attempts) == 2 else None


async def test_worker_keeps_as_many_connections_as_it_is_set(
    launch: Callable[..., Worker], send: Any, serve: Serve, command: Any, events: Redis, broker: Redis, until: Until
) -> None:
    worker = launch(FETCHER_SLOTS="1", FETCHER_THREADS="1", IDLE_CONNECTIONS="1", IDLE_CONNECTION_SECONDS="60")
    await until(lambda: broker.keys(f"{WORKER_KEY_PREFIX}*"), seconds=20)
    await send(*[command(await serve({"/": _hello}), robots="ignore") for _ in range(2)])
    await until(lambda: _two(events))
    metrics = await worker.operations("/metrics")
    assert "fetchwork_fetcher_idle_connections 1.0" in metrics
    assert "fetchwork_fetcher_evicted_connections_total 1.0" in metrics


async def test_garbage_does_not_stop_the_worker(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, until: Until
) -> None:
    await send(raw="{ not json")
    await send(raw="x", task="fetch.perform.v99")
    await send(command(await serve({"/": _hello})))
    await until(lambda: events.xlen(ATTEMPTED_STREAM))
    assert 'fetchwork_commands_rejected_total{reason="undecodable"} 1.0' in await worker.operations("/metrics")


async def test_stop_publishes_what_is_in_flight_and_leaves_the_rest_in_the_queue(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, broker: Redis, until: Until
) -> None:
    gate = Gate()
    base = await serve({"/": gate.answer})
    await send(*(command(base) for _ in range(4)))
    await until(lambda: gate.waiting == 4)
    worker.signal()
    await until(lambda: _is_gone(broker), seconds=2)
    await until(lambda: _takes_no_more(broker), seconds=5)
    await send(command(base))
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for its attempts, well past the end of its Celery worker
        await asyncio.to_thread(worker.process.wait, 1.5)
    gate.open.set()
    assert await worker.exit_code() == 0
    attempts = await _attempts(events)
    assert len(attempts) == 4 and all(attempted.outcome.response for attempted, _ in attempts)
    assert await broker.llen(COMMAND_QUEUE) == 1
    assert worker.lines("fetcher stopped")[0]["attempts_left"] == 0


async def _takes_no_more(broker: Redis) -> bool:
    return not any(client["cmd"] == "brpop" for client in await broker.client_list())


async def _is_gone(broker: Redis) -> bool:
    return not await broker.keys(f"{WORKER_KEY_PREFIX}*")


async def test_batches_that_wait_in_memory_go_back_to_the_queue(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, broker: Redis, until: Until
) -> None:
    gate = Gate()
    base = await serve({"/": gate.answer})
    for _ in range(8):
        await send(*(command(base) for _ in range(3)))
    await until(lambda: gate.waiting == 4)
    worker.signal()
    await until(lambda: _is_gone(broker), seconds=2)
    gate.open.set()
    assert await worker.exit_code() == 0
    performed = len(await _attempts(events))
    assert performed % 3 == 0 and await broker.llen(COMMAND_QUEUE) == 8 - performed // 3
    assert await broker.hlen("unacked") == 0


async def test_stop_gives_the_rest_of_a_train_back_at_once(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, until: Until
) -> None:
    base = await serve({"/": _hello})
    cars = train_of(*(command(base, lease_seconds=900, robots="ignore") for _ in range(3)), delay_seconds=300, seconds=900)
    await send(*cars)
    await until(lambda: events.xlen(ATTEMPTED_STREAM))
    worker.signal()
    assert await worker.exit_code() == 0
    attempts = [attempted for attempted, _ in await _attempts(events)]
    assert [attempted.outcome.kind for attempted in attempts] == ["fetched", "snoozed", "snoozed"]
    assert [attempted.id for attempted in attempts] == [car.id for car in cars]


async def test_stop_gives_a_train_back_that_waits_for_a_slot(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, until: Until
) -> None:
    gate = Gate()
    base = await serve({"/": gate.answer})
    await send(*(command(base) for _ in range(4)), *train_of(command(base), command(base)))
    await until(lambda: gate.waiting == 4)
    worker.signal()
    attempts = await until(lambda: _two(events))
    assert [attempted.outcome.kind for attempted, _ in attempts] == ["snoozed", "snoozed"]
    gate.open.set()
    assert await worker.exit_code() == 0


async def test_worker_tells_and_is_told_which_hosts_asked_to_be_left_alone(
    worker: Worker, send: Any, serve: Serve, command: Any, events: Redis, broker: Redis, until: Until
) -> None:
    async def busy(_request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "60"})

    here, there = await serve({"/": busy}), await serve({"/": _hello})
    heard = broker.pubsub(ignore_subscribe_messages=True)
    await heard.subscribe(SLOWDOWN_CHANNEL)
    told = Slowdown(host=there.removeprefix("http://"), until=utc_now() + timedelta(seconds=60))
    await until(lambda: _two_listen(broker, told))
    await send(command(here))
    await until(lambda: _hears(heard, here.removeprefix("http://")))
    await send(*train_of(command(there)))
    [attempted] = [attempted for attempted, _ in await until(lambda: _two(events)) if attempted.outcome.kind == "snoozed"]
    assert attempted.outcome.not_before == told.until
    await heard.aclose()  # type: ignore[no-untyped-call]


async def _two_listen(broker: Redis, slowdown: Slowdown) -> bool:
    return await broker.publish(SLOWDOWN_CHANNEL, slowdown.model_dump_json()) == 2


async def _hears(subscription: Any, host: str) -> bool:
    message = await subscription.get_message(timeout=0.1)
    return message is not None and host.encode() in message["data"]


async def test_second_signal_ends_at_once(
    worker: Worker, send: Any, serve: Serve, command: Any, broker: Redis, until: Until
) -> None:
    gate = Gate()
    await send(command(await serve({"/": gate.answer})))
    await until(lambda: gate.waiting == 1)
    worker.signal(signal.SIGINT)
    await until(lambda: _is_gone(broker), seconds=2)
    worker.signal(signal.SIGINT)
    assert await asyncio.wait_for(worker.exit_code(), timeout=2) == 1


async def test_worker_outlives_its_broker(
    launch: Any, serve: Serve, command: Any, events: Redis, until: Until, tmp_path: Path
) -> None:
    port, base = free_port(), await serve({"/": _hello})
    first = embedded_redis(tmp_path / "broker", is_durable=False, port=port)
    url = first.__enter__()
    worker = launch(BROKER_URL=url)
    app = Celery(broker=url, set_as_current=False)
    message = message_of(command(base))
    await until(lambda: worker.lines("fetcher started"), seconds=20)
    app.send_task(FETCH_PERFORM, args=[message], queue=COMMAND_QUEUE)
    await until(lambda: events.xlen(ATTEMPTED_STREAM))
    first.__exit__(None, None, None)
    with embedded_redis(tmp_path / "broker", is_durable=False, port=port):
        await asyncio.to_thread(app.send_task, FETCH_PERFORM, args=[message], queue=COMMAND_QUEUE)
        await until(lambda: _two(events), seconds=15)
    worker.signal()
    assert await worker.exit_code() == 0
    app.close()


async def test_what_two_workers_say_adds_up(
    launch: Callable[..., Worker], send: Any, serve: Serve, command: Any, events: Redis, broker: Redis, until: Until
) -> None:
    """Each is one process with one registry, although Celery runs threads in it: Prometheus scrapes both and adds."""
    workers = [launch(FETCHER_SLOTS="4", FETCHER_THREADS="2") for _ in range(2)]
    await until(lambda: _are_announced(broker, len(workers)), seconds=30)
    base = await serve({"/": _hello})
    for _ in range(20):
        await send(command(base))
    await until(lambda: _has_attempts(events, 20), seconds=20)
    scraped = [
        {sample.name: sample.value for family in text_string_to_metric_families(await worker.operations("/metrics"))
         for sample in family.samples if not sample.labels}
        for worker in workers
    ]  # fmt: skip
    for name in ("commands_received_total", "command_wait_seconds_count", "slot_wait_seconds_count"):
        assert sum(samples[f"fetchwork_{name}"] for samples in scraped) == 20, name
    assert all(samples["process_start_time_seconds"] > 0 for samples in scraped)
    text = await workers[0].operations("/metrics")
    for dependency, up in (("events", 1.0), ("broker", 1.0), ("store", 0.0)):
        assert f'fetchwork_dependency_up{{dependency="{dependency}"}} {up}' in text


async def _are_announced(broker: Redis, count: int) -> bool:
    return len(await broker.keys(f"{WORKER_KEY_PREFIX}*")) == count


async def _has_attempts(events: Redis, count: int) -> bool:
    return len(await _attempts(events)) == count


async def test_worker_without_a_broker_keeps_trying_and_can_be_stopped(launch: Any, until: Until) -> None:
    worker = launch(BROKER_URL="redis://127.0.0.1:1")
    await until(lambda: worker.lines("announcement failed"), seconds=20)
    assert worker.process.poll() is None
    worker.signal()
    assert await worker.exit_code() == 0


async def test_a_fetcher_without_a_contact_says_so_once(launch: Any, until: Until) -> None:
    nameless, named = launch(), launch(CONTACT="robots@a.test")
    for worker in (nameless, named):
        await until(lambda worker=worker: worker.lines("fetcher started"), seconds=20)
        worker.signal()
    assert [await worker.exit_code() for worker in (nameless, named)] == [0, 0]
    [line] = nameless.lines("no contact")
    assert (line["level"], line["setting"]) == ("warning", "FETCHWORK_CONTACT")
    assert named.lines("no contact") == []


async def test_faulty_settings_end_the_start_with_code_2(launch: Any) -> None:
    worker = launch(FETCHER_DRAIN_SECONDS="5", STORE_URL="")
    assert await worker.exit_code() == 2
    assert "FETCHWORK_FETCHER_DRAIN_SECONDS" in worker.log.read_text() and "FETCHWORK_STORE_URL" in worker.log.read_text()
