"""Names that the gateway's tests share."""

from typing import Any

import httpx2

KEY = "a-key-for-tests-only"


def assert_problem(answer: httpx2.Response, status: int, slug: str, *, is_traced: bool = True) -> dict[str, Any]:
    """The problem document of an answer, held to RFC 9457 and to our own registry. Tracing is set up in a process of its own."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"/problems/{slug}" and document["status"] == status
    assert document["title"] and document["detail"] and document["instance"].startswith("/")
    assert len(document["trace_id"] or "0" * 32) == 32 and (document["trace_id"] or not is_traced)
    return document
