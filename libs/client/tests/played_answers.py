"""Answers that are no good news, as a gateway or a broken connection gives them."""

from aiohttp import web


def problem(
    status: int, title: str, *, type: str = "/problems/played", headers: dict[str, str] | None = None, **members: object
) -> web.Response:
    """A problem document."""
    document = {"type": type, "title": title, "status": status, "detail": "Do better.", "trace_id": "t1", **members}
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


def abort(request: web.Request) -> web.Response:
    """No answer: the connection is gone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
