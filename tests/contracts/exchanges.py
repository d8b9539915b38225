"""Recorded HTTP exchanges: what a caller sent and what our service answered, at some earlier release. Never edit one; add one.

A recording serves both directions. Today's service is sent the recorded request, and must still say all that the recorded
answer says: that is what callers of then rely on. Today's caller is given the recorded answer, and must read it.
"""

import base64
import json
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from aiohttp import web

FOLDER = Path(__file__).parent / "recorded"
KEY = "a-key-of-the-recordings"
TOKEN = "a-token-of-the-recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One half of an exchange: headers in lower case, and a body that is either JSON or bytes."""

    headers: dict[str, str] = field(default_factory=dict)
    document: Any = None
    content: bytes = b""

    @classmethod
    def read(cls, half: dict[str, Any]) -> "Message":
        """From a recording."""
        document = half.get("json")
        content = json.dumps(document).encode() if document is not None else base64.b64decode(half.get("base64", ""))
        return cls(headers=half.get("headers", {}), document=document, content=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request and its answer. Of members and headers that are `varying`, only the kind of value is compared."""

    name: str
    service: str
    method: str
    path: str
    status: int
    request: Message
    answer: Message
    varying: frozenset[str]

    async def ask(self, client: httpx2.AsyncClient) -> httpx2.Response:
        """Send the recorded request."""
        headers = dict(self.request.headers)
        if self.request.document is not None:
            headers["content-type"] = "application/json"
        return await client.request(self.method, self.path, headers=headers, content=self.request.content)

    def differs_from(self, answer: httpx2.Response) -> list[str]:
        """What the recorded answer says and this one does not."""
        faults = [] if answer.status_code == self.status else [f"status {answer.status_code} instead of {self.status}"]
        for name, value in self.answer.headers.items():
            if name not in answer.headers or not (name in self.varying or answer.headers[name] == value):
                faults.append(f"header {name}: {answer.headers.get(name)!r} instead of {value!r}")
        if self.answer.document is not None:
            return faults + missing(self.answer.document, answer.json(), varying=self.varying)
        return faults + ([] if answer.content == self.answer.content else ["other bytes"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that today's caller sent."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


def load_exchanges(service: str) -> list[Exchange]:
    """Every recorded exchange that this service answered."""
    found = [_read(path) for path in sorted((FOLDER / "http").glob(f"{service}.*.json"))]
    assert found, f"nothing is recorded of the {service}"
    return found


def named(service: str, name: str) -> Exchange:
    """One of them."""
    [exchange] = [exchange for exchange in load_exchanges(service) if exchange.name == f"{service}.{name}"]
    return exchange


def missing(old: object, new: object, *, varying: Container[str] = (), name: str = "", at: str = "") -> list[str]:
    """Where `new` does not say what `old` says. It may say more. The values of members that vary need only be of one kind."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{at}/{key} is gone" for key in sorted(old.keys() - new.keys())]
        both = sorted(old.keys() & new.keys())
        parts = [missing(old[key], new[key], varying=varying, name=key, at=f"{at}/{key}") for key in both]
        return gone + [fault for part in parts for fault in part]
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return [f"{at} has {len(new)} items instead of {len(old)}"]
        pairs = enumerate(zip(old, new, strict=True))
        parts = [missing(one, other, varying=varying, name=name, at=f"{at}/{index}") for index, (one, other) in pairs]
        return [fault for part in parts for fault in part]
    is_same = old is None or _kind(old) == _kind(new) if name in varying else old == new
    return [] if is_same else [f"{at} is {new!r} instead of {old!r}"]


class Everything:
    """The names of all members, for messages that only have to be of the same shape."""

    def __contains__(self, _name: object) -> bool:
        return True


@asynccontextmanager
async def play(exchanges: list[Exchange]) -> AsyncIterator[tuple[str, list[Asked]]]:
    """A server that answers as recorded; yields its URL and the requests that it was sent."""
    asked: list[Asked] = []
    answers = {(exchange.method, exchange.path): exchange for exchange in exchanges}

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked.append(Asked(method=request.method, path=request.path, headers=headers, content=await request.read()))
        exchange = answers.get((request.method, request.path))
        if exchange is None:
            return web.Response(status=404)
        content = None if exchange.status == 204 else exchange.answer.content
        return web.Response(status=exchange.status, headers=exchange.answer.headers, body=content)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def _kind(value: object) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _read(path: Path) -> Exchange:
    recorded = json.loads(path.read_text(encoding="utf-8"))
    return Exchange(
        name=path.stem,
        service=path.stem.partition(".")[0],
        method=recorded["request"]["method"],
        path=recorded["request"]["path"],
        status=recorded["answer"]["status"],
        request=Message.read(recorded["request"]),
        answer=Message.read(recorded["answer"]),
        varying=frozenset(recorded.get("varying", ())),
    )
