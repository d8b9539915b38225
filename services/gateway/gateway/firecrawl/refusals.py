"""What goes wrong under /v2, in Firecrawl's form: problems of our own API, wherever they come from, and scrapes that failed.

Firecrawl's own statuses exist only here.
"""

import json
from typing import Any

from common.contracts.fetches import ErrorType
from common.contracts.views import FetchView
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.openapi.firecrawl import PREFIX, STATUSES
from gateway.problems.types import MEDIA_TYPE

FAILURES: dict[ErrorType, tuple[int, str]] = {
    ErrorType.DNS: (200, "SCRAPE_DNS_RESOLUTION_ERROR"),
    ErrorType.TLS: (500, "SCRAPE_SSL_ERROR"),
    ErrorType.TIMEOUT: (408, "SCRAPE_TIMEOUT"),
    ErrorType.EXPIRED: (408, "SCRAPE_TIMEOUT"),
    ErrorType.REFUSED_ADDRESS: (403, "SCRAPE_REFUSED"),
    ErrorType.REFUSED_SCHEME: (403, "SCRAPE_REFUSED"),
    ErrorType.REFUSED_PORT: (403, "SCRAPE_REFUSED"),
    ErrorType.REFUSED_ROBOTS: (403, "SCRAPE_REFUSED"),
}
"""Status and code of a scrape that failed; 200 is Firecrawl's own answer where there is no such name."""
OTHER_FAILURE = (500, "SCRAPE_SITE_ERROR")
NO_TEXT = (500, "SCRAPE_UNSUPPORTED_FILE_ERROR")


def failure(view: FetchView) -> tuple[int, dict[str, Any]]:
    """Status and document of a scrape that has ended without a response."""
    type = view.error.type if view.error else ErrorType.INTERNAL
    status, code = FAILURES.get(type, OTHER_FAILURE)
    detail = view.error.detail if view.error else f"The fetch is {view.status}."
    return status, {"success": False, "code": code, "error": detail}


def timed_out(view: FetchView, *, seconds: float) -> tuple[int, dict[str, Any]]:
    """Status and document of a scrape that is pending still, when its caller has waited long enough."""
    status, code = FAILURES[ErrorType.TIMEOUT]
    detail = f"The page was not there within {seconds:g} seconds. What comes of it is at /v1/fetches/{view.id}."
    return status, {"success": False, "code": code, "error": detail}


class FirecrawlRefusals:
    """ASGI middleware around all others: turns a problem into `{"success": false, "error"}`, and passes everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request as the application does, in Firecrawl's form."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        problem = bytearray()

        async def send_translated(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                problem.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await _send_refusal(json.loads(problem), start, send)

        await self._app(scope, receive, send_translated)


def _is_problem(start: Message) -> bool:
    return (b"content-type", MEDIA_TYPE.encode()) in start["headers"]


async def _send_refusal(problem: dict[str, Any], start: Message, send: Send) -> None:
    body = json.dumps({"success": False, "error": _sentence(problem)}).encode()
    replaced = (b"content-type", b"content-length")
    headers = [(name, value) for name, value in start["headers"] if name not in replaced]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({**start, "status": STATUSES.get(start["status"], start["status"]), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _sentence(problem: dict[str, Any]) -> str:
    """The detail, or what is wrong with each member where that is said."""
    faults = [_fault(error) for error in problem.get("errors", ())]
    return " ".join(faults) or str(problem["detail"])


def _fault(error: dict[str, str]) -> str:
    member = error.get("pointer", error.get("parameter", "")).removeprefix("#").removeprefix("/")
    return f"{member}: {error['detail']}" if member else error["detail"]
