"""Messages made or changed by hand, as no service of this release would send them."""

import base64
import json
from collections.abc import Callable
from typing import Any

from common.clock import utc_now
from common.ids import new_event_id, new_fetch_id
from common.streams.names import BODY_FIELD, COMMAND_QUEUE, EVENT_FIELD
from redis.asyncio import Redis

Document = dict[str, Any]


def envelope(data: object, *, type: str, subject: str = "by-hand", **more: object) -> Document:
    """An event or command that holds anything at all."""
    now = utc_now().isoformat()
    head = {"specversion": "1.0", "id": new_event_id(), "source": "by-hand", "type": type, "subject": subject, "time": now}
    return {**head, "data": data, **more}


def accepted_fetch(url: str, *, host: str, **request: object) -> Document:
    """One fetch as a gateway writes it into `fetch.accepted.v1`, with a new id."""
    return {
        "id": str(new_fetch_id()), "host": host, "accepted_at": utc_now().isoformat(), "request": {"url": url, **request}
    }  # fmt: skip


def attempted(fetch_id: str, outcome: object, *, dispatch_seq: object = 1) -> Document:
    """The data of `fetch.attempted.v1`."""
    now = utc_now().isoformat()
    return {
        "id": fetch_id, "dispatch_seq": dispatch_seq, "worker": "by-hand", "started_at": now, "finished_at": now,
        "outcome": outcome,
    }  # fmt: skip


def as_bytes(document: Document) -> bytes:
    """JSON, in which NUL is an escape."""
    return json.dumps(document).encode()


async def append(events: Redis, stream: str, event: bytes, body: bytes | None = None) -> str:
    """Put an entry into a stream, whatever it holds; its id."""
    fields: dict[Any, Any] = {EVENT_FIELD: event} | ({BODY_FIELD: body} if body is not None else {})
    return _text(await events.xadd(stream, fields))


async def change_command(broker: Redis, change: Callable[[Document, Document], None]) -> None:
    """Take the youngest Celery message out of the queue, change it and its envelope of ours in place, put it back.

    A body that `change` replaced with text is left as it is.
    """
    message: Document = json.loads(await broker.lpop(COMMAND_QUEUE))
    arguments = json.loads(base64.b64decode(message["body"]))
    command: Document = json.loads(arguments[0][0])
    body = message["body"]
    change(message, command)
    if message["body"] == body:
        arguments[0][0] = json.dumps(command)
        message["body"] = base64.b64encode(json.dumps(arguments).encode()).decode()
    await broker.lpush(COMMAND_QUEUE, json.dumps(message))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
