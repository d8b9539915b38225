"""The outermost middleware: bounded, and closed-mouthed when something breaks."""

import asyncio
import json
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.observation import Observation
from gateway.metrics import GatewayMetrics

SCOPE = {"type": "http", "method": "GET", "path": "/x", "headers": []}


async def _call(app: ASGIApp) -> tuple[int, dict[str, Any]]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(dict(SCOPE), receive, send)
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    body = sent[1]["body"]
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else {}


async def test_over_the_limit_a_request_is_refused_and_under_it_served_again() -> None:
    release = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await PlainTextResponse("done")(scope, receive, send)

    app = Observation(waiting, metrics=GatewayMetrics(), requests_limit=1)
    first = asyncio.create_task(_call(app))
    await asyncio.sleep(0)
    status, document = await _call(app)
    assert status == 503 and document["type"] == "/problems/overloaded" and document["retryable"]
    release.set()
    assert (await first)[0] == 200
    assert (await _call(app))[0] == 200


async def test_a_fault_of_our_own_says_nothing_about_itself() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("planted secret")

    metrics = GatewayMetrics()
    status, document = await _call(Observation(broken, metrics=metrics, requests_limit=9))
    assert status == 500 and document["type"] == "/problems/internal"
    assert "planted" not in json.dumps(document)
    labels = {"method": "GET", "route": "unmatched", "status_class": "5xx"}
    assert metrics.registry.get_sample_value("fetchwork_http_requests_total", labels) == 1


async def test_a_request_that_outlasts_the_server_is_told_to_come_back() -> None:
    entered = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.Event().wait()

    metrics = GatewayMetrics()
    request = asyncio.create_task(_call(Observation(endless, metrics=metrics, requests_limit=9)))
    await entered.wait()
    request.cancel("the server's patience is over")
    status, document = await request
    assert status == 503 and document["type"] == "/problems/stopping" and document["retryable"]
    labels = {"method": "GET", "route": "unmatched", "status_class": "5xx"}
    assert metrics.registry.get_sample_value("fetchwork_http_requests_total", labels) == 1
