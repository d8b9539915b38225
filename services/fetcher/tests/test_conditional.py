"""Conditional requests: our validators on the first hop alone, and a 304 that is an answer to them or just a response."""

from typing import Any

import pytest
from aiohttp import web
from common.contracts.fetches import FetchRequest, OutcomeKind, Validators
from common.ids import new_fetch_id

from fetcher.egress.conditional import conditional_headers
from fetcher.perform import perform

DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


def _validators(etag: str | None = '"v1"', last_modified: str | None = DATE) -> Validators:
    return Validators(fetch_id=new_fetch_id(), etag=etag, last_modified=last_modified)


class Origin:
    """Redirects `/`; elsewhere says 304 to anything conditional."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        conditions = request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")
        self.seen.append(conditions)
        if request.path == "/":
            return web.Response(status=302, headers={"Location": "/page"})
        is_known = any(conditions) or request.path == "/always"
        return web.Response(status=304 if is_known else 200, headers={"ETag": '"v1"'})


async def _outcome(client: Any, command: Any, validators: Validators | None) -> Any:
    return (await perform(command.model_copy(update={"validators": validators}), client=client)).outcome


async def test_304_to_our_validators_is_a_revalidation(serve, make_client, command) -> None:
    origin = Origin()
    outcome = await _outcome(make_client(), command(f"{await serve({'/page': origin.answer})}/page"), _validators())
    assert origin.seen == [('"v1"', DATE)]
    assert (outcome.kind, outcome.response.status, outcome.body) == (OutcomeKind.NOT_MODIFIED, 304, None)
    assert ("Etag", '"v1"') in outcome.response.headers or ("ETag", '"v1"') in outcome.response.headers


async def test_304_that_nobody_asked_for_is_an_ordinary_response(serve, make_client, command) -> None:
    origin = Origin()
    outcome = await _outcome(make_client(), command(f"{await serve({'/always': origin.answer})}/always"), None)
    assert (outcome.kind, outcome.response.status) == (OutcomeKind.FETCHED, 304)


async def test_callers_own_condition_wins(serve, make_client, command) -> None:
    origin = Origin()
    asked = command(f"{await serve({'/page': origin.answer})}/page", headers={"if-none-match": '"mine"'})
    outcome = await _outcome(make_client(), asked, _validators())
    assert origin.seen == [('"mine"', None)]
    assert (outcome.kind, outcome.response.status) == (OutcomeKind.FETCHED, 304)


async def test_validators_do_not_follow_a_redirect(serve, make_client, command) -> None:
    origin = Origin()
    base = await serve({"/": origin.answer, "/page": origin.answer})
    outcome = await _outcome(make_client(), command(base), _validators())
    assert origin.seen == [('"v1"', DATE), (None, None)]
    assert (outcome.kind, outcome.response.status) == (OutcomeKind.FETCHED, 200)


async def test_304_after_a_redirect_answers_nothing_of_ours(serve, make_client, command) -> None:
    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/always"})

    base = await serve({"/": away, "/always": Origin().answer})
    assert (await _outcome(make_client(), command(base), _validators())).kind is OutcomeKind.FETCHED


async def test_changed_content_is_an_ordinary_response(serve, make_client, command) -> None:
    async def changed(_request: web.Request) -> web.Response:
        return web.Response(text="new")

    outcome = await _outcome(make_client(), command(await serve({"/": changed})), _validators())
    assert (outcome.kind, outcome.body.size_bytes) == (OutcomeKind.FETCHED, 3)


@pytest.mark.parametrize("name", ["If-Match", "IF-NONE-MATCH", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"])
def test_any_condition_of_the_callers_leaves_ours_out(name: str) -> None:
    assert conditional_headers(FetchRequest(url="http://example.com/", headers={name: "x"}), _validators()) == {}


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_only_a_get_is_made_conditional(method: Any) -> None:
    assert conditional_headers(FetchRequest(url="http://example.com/", method=method), _validators()) == {}


@pytest.mark.parametrize("etag", ["", " ", '"a\r\nX: y"', '"café"', '"' + "a" * 2000 + '"', '"a\x00"'])
def test_validator_that_a_header_cannot_carry_is_left_out(etag: str) -> None:
    headers = conditional_headers(FetchRequest(url="http://example.com/"), _validators(etag=etag))
    assert headers == {"If-Modified-Since": DATE}


def test_weak_tag_goes_as_it_came() -> None:
    headers = conditional_headers(FetchRequest(url="http://example.com/"), _validators('W/"v 1"', None))
    assert headers == {"If-None-Match": 'W/"v 1"'}
