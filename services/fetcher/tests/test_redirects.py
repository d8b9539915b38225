"""Redirects: what goes out again and what does not, and that the chain is kept."""

from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import FetchRequest
from common.urls import Target, read_url

from fetcher.egress.redirects import Sending, first_sending, follow
from fetcher.perform import perform

HEADERS = {"Content-Type": "text/x", "content-language": "en", "Authorization": "Bearer x", "X-Mine": "1"}


def _target(url: str) -> Target:
    target = read_url(url)
    assert isinstance(target, Target)
    return target


HERE = _target("http://example.com/a")
SAME = _target("http://example.com/b")
OTHERS = [_target(f"{origin}/b") for origin in ("https://example.com", "http://example.com:8080", "http://www.example.com")]


@pytest.mark.parametrize(
    ("status", "method", "after", "keeps_body"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
        (301, "PUT", "PUT", True),
        (302, "PATCH", "PATCH", True),
        (303, "PUT", "GET", False),
        (303, "DELETE", "GET", False),
        (303, "GET", "GET", False),
        (301, "HEAD", "HEAD", False),
        (303, "HEAD", "HEAD", False),
    ],
)
def test_method_and_body_after_a_redirect(status: int, method: str, after: str, keeps_body: bool) -> None:
    has_body = method not in ("GET", "HEAD")
    following = follow(
        status, Sending(method=method, body=b"x" if has_body else None, headers=HEADERS), source=HERE, target=SAME
    )
    assert following is not None
    assert (following.method, following.body) == (after, b"x" if keeps_body else None)
    kept = HEADERS if after == method else {"Authorization": "Bearer x", "X-Mine": "1"}
    assert following.headers == kept


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_of_the_callers_goes_to_another_origin(other: Target) -> None:
    sent = Sending(method="POST", body=b"secret", headers=HEADERS)
    assert follow(307, sent, source=HERE, target=other) is None
    following = follow(302, sent, source=HERE, target=other)
    assert following == Sending(method="GET", body=None, headers={})
    bare = follow(307, Sending(method="DELETE", body=None, headers=HEADERS), source=HERE, target=other)
    assert bare == Sending(method="DELETE", body=None, headers={})


def test_empty_body_is_a_body() -> None:
    assert first_sending(FetchRequest(url="http://example.com/", method="PUT", body="")).body == b""
    assert follow(307, Sending(method="PUT", body=b"", headers={}), source=HERE, target=OTHERS[0]) is None


async def _outcome(client: Any, command: Any) -> Any:
    return (await perform(command, client=client)).outcome


async def test_chain_is_kept_with_methods_and_statuses(serve, make_client, command) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, await request.read()))
        following = {"/": (308, "/b"), "/b": (303, "/c"), "/c": (301, "/d")}.get(request.path)
        if following is None:
            return web.Response(text="there")
        return web.Response(status=following[0], headers={"Location": following[1]}, text="moved")

    base = await serve({"/{rest:.*}": answer})
    outcome = await _outcome(make_client(), command(f"{base}/", method="POST", body="x"))
    assert seen == [("POST", "/", b"x"), ("POST", "/b", b"x"), ("GET", "/c", b""), ("GET", "/d", b"")]
    assert [(redirect.url.removeprefix(base), redirect.status) for redirect in outcome.response.redirects] == [
        ("/", 308), ("/b", 303), ("/c", 301)
    ]  # fmt: skip
    assert outcome.response.final_url == f"{base}/d"
    assert [hop.method for hop in outcome.evidence.hops] == ["POST", "POST", "GET", "GET"]
    assert outcome.evidence.wire_bytes == len("there")


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_that_would_send_a_body_elsewhere_is_the_response(status: int, serve, make_client, command) -> None:
    asked = []

    async def remember(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    other = await serve({"/": remember}, address="127.0.0.2")

    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": other}, text="over there")

    outcome = await _outcome(make_client(), command(await serve({"/": away}), method="PUT", body="secret"))
    assert (outcome.response.status, outcome.body.size_bytes, outcome.response.redirects) == (status, 10, ())
    assert asked == []


async def test_post_that_became_a_get_follows_to_another_origin(serve, make_client, command) -> None:
    seen = []

    async def remember(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers.get("X-Mine"), request.headers.get("Content-Type")))
        return web.Response()

    other = await serve({"/": remember}, address="127.0.0.2")

    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=303, headers={"Location": other})

    asked = command(await serve({"/": away}), method="POST", body="x", headers={"X-Mine": "1"})
    assert (await _outcome(make_client(), asked)).response.status == 200
    assert seen == [("GET", None, None)]
