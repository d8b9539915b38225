"""Reading: what the store has, content that no browser renders, and plain words for everything that is not there."""

import hashlib
from typing import Any
from uuid import UUID

import httpx2
import pytest
import zstandard
from common.clock import utc_now
from common.contracts.fetches import FetchStatus
from common.contracts.views import FetchView
from common.ids import new_fetch_id
from gateway_words import assert_problem

SMALL, LARGE = b"<script>alert(1)</script>", bytes(range(256)) * 20_000


def _keep(gateway: Any, body: bytes | None, *, status: FetchStatus = FetchStatus.SUCCEEDED) -> tuple[UUID, str]:
    fetch_id = new_fetch_id()
    digest = f"sha256:{hashlib.sha256(body or b'').hexdigest()}"
    view = FetchView(id=fetch_id, url="http://a.test/", status=status, created_at=utc_now())
    gateway.store.views[fetch_id] = view.model_dump_json()
    headers = {"x-fetch-status": status.value}  # lower case, as the real store sends them
    if body is not None:
        headers |= {"x-content-digest": digest, "x-content-size-bytes": str(len(body))}
    gateway.store.contents[fetch_id] = (headers, zstandard.compress(body) if body is not None else None)
    return fetch_id, digest


async def test_a_known_fetch_is_shown_with_links(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id, _ = _keep(gateway, SMALL)
    document = (await client.get(f"/v1/fetches/{fetch_id}")).json()
    assert document["status"] == "succeeded"
    assert document["links"] == {"self": f"/v1/fetches/{fetch_id}", "content": f"/v1/fetches/{fetch_id}/content"}


@pytest.mark.parametrize("body", [SMALL, LARGE])
async def test_content_is_exact_and_never_rendered(client: httpx2.AsyncClient, gateway: Any, body: bytes) -> None:
    fetch_id, digest = _keep(gateway, body)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content")
    assert answer.content == body
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("tag", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_content_that_the_caller_has_is_not_sent_again(client: httpx2.AsyncClient, gateway: Any, tag: str) -> None:
    fetch_id, digest = _keep(gateway, SMALL)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content", headers={"If-None-Match": tag.format(digest)})
    assert answer.status_code == 304 and answer.content == b"" and answer.headers["etag"] == f'"{digest}"'


async def test_an_empty_body_is_empty(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id, _ = _keep(gateway, None)
    answer = await client.get(f"/v1/fetches/{fetch_id}/content")
    assert answer.status_code == 200 and answer.content == b""


async def test_what_is_not_there_is_explained(client: httpx2.AsyncClient, gateway: Any) -> None:
    unknown = new_fetch_id()
    assert_problem(await client.get(f"/v1/fetches/{unknown}"), 404, "not-found")
    assert_problem(await client.get(f"/v1/fetches/{unknown}/content"), 404, "not-found")
    assert_problem(await client.get("/v1/fetches/not-an-id"), 404, "not-found")
    assert_problem(await client.get("/nothing"), 404, "not-found")
    assert_problem(await client.put(f"/v1/fetches/{unknown}"), 405, "method-not-allowed")
    failed, _ = _keep(gateway, None, status=FetchStatus.FAILED)
    assert_problem(await client.get(f"/v1/fetches/{failed}/content"), 404, "no-content")


async def test_a_store_that_is_away_is_a_problem_to_retry(client: httpx2.AsyncClient, gateway: Any) -> None:
    fetch_id, _ = _keep(gateway, SMALL)
    gateway.store.is_broken = True
    for path in (f"/v1/fetches/{fetch_id}", f"/v1/fetches/{fetch_id}/content"):
        answer = await client.get(path)
        assert assert_problem(answer, 503, "store-unavailable")["retryable"]
        assert answer.headers["retry-after"]


async def test_every_problem_type_leads_to_its_remedy(client: httpx2.AsyncClient) -> None:
    problem = (await client.get("/v1/fetches/x")).json()
    page = await client.get(problem["type"])
    assert page.status_code == 200 and page.json()["status"] == 404 and page.json()["remedy"]


async def test_health_and_metrics(client: httpx2.AsyncClient, gateway: Any) -> None:
    assert (await client.get("/livez")).text == "ok\n"
    assert "[+]events ok" in (await client.get("/readyz?verbose")).text
    await client.get("/v1/fetches/x")
    async with httpx2.AsyncClient(base_url=gateway.metrics_url) as operator:
        metrics = (await operator.get("/metrics")).text
        assert (await operator.get("/livez")).status_code == 200
        assert "[+]events ok" in (await operator.get("/readyz?verbose")).text
    assert "fetchwork_fetches_accepted_total" in metrics
    assert 'fetchwork_build_info{' in metrics
    assert 'route="/v1/fetches/{fetch_id}"' in metrics
    assert (await client.get("/metrics")).status_code == 404
