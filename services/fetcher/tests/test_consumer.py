"""Messages that are no task of ours, at a real worker: counted, dropped, not quoted, and the next command is taken."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from common.contracts.catalog import FETCH_PERFORM
from common.streams.names import ATTEMPTED_STREAM, COMMAND_QUEUE
from redis.asyncio import Redis
from worker_rig import Worker

Serve = Callable[..., Awaitable[str]]
Until = Callable[..., Awaitable[Any]]
pytest_plugins = ("worker_fixtures",)
SECRET = "Bearer-of-somebody"


def _text(text: str) -> dict[str, str]:
    return {"body": base64.b64encode(text.encode()).decode()}


async def _put(broker: Redis, *, headers: dict[str, Any] | None = None, **changes: object) -> None:
    """What Celery would send, with changes to it."""
    message = {
        **_text(json.dumps([[SECRET], {}, {}])),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": FETCH_PERFORM, "id": "a", "argsrepr": SECRET} if headers is None else headers,
        "properties": {
            "delivery_tag": "a", "delivery_info": {"exchange": "", "routing_key": COMMAND_QUEUE}, "body_encoding": "base64",
        },
    }  # fmt: skip
    await broker.lpush(COMMAND_QUEUE, json.dumps(message | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"headers": {"task": "fetch.perform.v9", "id": "a", "argsrepr": SECRET}}, "unknown_task"),
        ({"headers": {}}, "undecodable"),
        ({"headers": {"task": FETCH_PERFORM}}, "undecodable"),
        (_text("\0" + SECRET), "undecodable"),
        (_text("5"), "undecodable"),
        (_text("{}"), "undecodable"),
        (_text(json.dumps([[SECRET]])), "undecodable"),
        ({"content-type": "application/x-python-serialize"}, "undecodable"),
    ],
)
async def test_message_that_is_no_task_is_dropped_and_counted_and_not_quoted(
    changes: dict[str, Any], reason: str, worker: Worker, send: Any, serve: Serve, command: Any, broker: Redis, events: Redis,
    until: Until,
) -> None:  # fmt: skip
    base = await serve({"/": _hello})
    await _put(broker, **changes)
    await send(command(base))
    await until(lambda: events.exists(ATTEMPTED_STREAM))
    assert f'fetchwork_commands_rejected_total{{reason="{reason}"}} 1.0' in await worker.operations("/metrics")
    assert [line["reason"] for line in worker.lines("command rejected")] == [reason]
    assert SECRET not in worker.log.read_text()
    assert await broker.hlen("unacked") == 0


async def _hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello", content_type="text/plain")
