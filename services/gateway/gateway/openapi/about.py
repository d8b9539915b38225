"""What the OpenAPI document says of the API as a whole: its name, its licence, where it is, and its groups of routes."""

from typing import Any

OPENAPI_VERSION = "3.2.0"
"""3.2 has `itemSchema`, which describes streams (section 4.14.3): server-sent events and JSON lines."""

TITLE = "Fetchwork"
DESCRIPTION = """\
Fetching as a service: you name URLs, Fetchwork fetches them politely, and keeps what came.

A fetch that was answered with 202 is a promise: it will end, and what came of it can be read. Its `status` goes from `queued`
over `running` to `succeeded`, `failed`, `cancelled` or `expired`.

- **Keys.** Send `Authorization: Bearer KEY`. What a key may do are its scopes; each operation names the one it needs.
- **Errors** are problem documents (RFC 9457). Their `type` leads to a page that says what to do; `retryable` and `Retry-After`
  say whether and when the same request may succeed.
- **Times** are RFC 3339 in UTC, durations are in seconds unless the name says `_ms`, and sizes are in bytes.
- **What may come later.** Members may be added to answers: ignore those you do not know. Requests with unknown members are
  refused.
"""
CONTACT = {"name": "The maintainers of Fetchwork"}
LICENSE = {"name": "MIT", "identifier": "MIT"}
SERVERS: list[dict[str, str | Any]] = [{"url": "/", "description": "The deployment that serves this document."}]

TAGS = {
    "fetches": "One URL each: submit, read, list, cancel, retry, and read what was kept.",
    "plans": "What a fetch would meet, without making it.",
    "batches": "Several fetches in one request, listed and counted together.",
    "events": "What happened, in order and resumable: a stream of server-sent events, or a long poll.",
    "hosts": "Who we are polite to: the pace in force, what waits, and what an operator overrides.",
    "dead letters": "Messages that could not be applied, for operators.",
    "keys": "API keys, their scopes and their limits, for operators.",
    "audit": "Who changed what, for operators.",
    "compatibility": "The requests and answers of other services' clients.",
    "problems": "What each type of problem means and what to do about it.",
    "health": "For load balancers.",
}
"""Every group with its description, in the order that readers need them. A route has exactly one."""
