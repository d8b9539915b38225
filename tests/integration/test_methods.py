"""What is sent arrives as it was asked for, and what may be sent once is sent once."""

import asyncio
import base64
import json
from typing import Any

import pytest
from driver import Document, Driver
from origin import Origin

NOT_TEXT = bytes(range(256))


async def _echoed(driver: Driver, document: Document) -> dict[str, Any]:
    """What the origin says that it was sent."""
    assert document["status"] == "succeeded", document
    echoed: dict[str, Any] = json.loads(await driver.content(document))
    return {**echoed, "headers": {name.lower(): value for name, value in echoed["headers"].items()}}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_arrives_once_and_whole(driver: Driver, origin: Origin, method: str) -> None:
    path = f"/echo?{method}"
    binary = {"base64": base64.b64encode(NOT_TEXT).decode()}
    text, bytes_, own = await asyncio.gather(
        driver.fetch(f"{origin.url}{path}-text", method=method, body="ünïcode"),
        driver.fetch(f"{origin.url}{path}-bytes", method=method, body=binary),
        driver.fetch(f"{origin.url}{path}-own", method=method, body="{}", headers={"Content-Type": "application/json"}),
    )
    sent = [await _echoed(driver, document) for document in (text, bytes_, own)]
    assert [each["method"] for each in sent] == [method] * 3
    assert [base64.b64decode(each["body"]) for each in sent] == ["ünïcode".encode(), NOT_TEXT, b"{}"]
    types = ["text/plain; charset=utf-8", "application/octet-stream", "application/json"]
    assert [each["headers"]["content-type"] for each in sent] == types
    assert {document["at_most_once"] for document in (text, bytes_, own)} == {method in ("POST", "PATCH")}
    assert {document["method"] for document in (text, bytes_, own)} == {method}
    assert set((await origin.hits(path)).values()) == {1}


async def test_a_body_is_as_large_as_it_may_be(driver: Driver, origin: Origin) -> None:
    whole = await driver.fetch(f"{origin.url}/echo?large", method="POST", body="x" * 32 * 1024)
    assert base64.b64decode((await _echoed(driver, whole))["body"]) == b"x" * 32 * 1024
    request = {"url": f"{origin.url}/echo?larger", "method": "POST", "body": "x" * (32 * 1024 + 1)}
    assert (await driver.client.post("/v1/fetches", json=request)).status_code == 422


async def test_of_a_dropped_connection_only_what_is_idempotent_is_sent_again(driver: Driver, origin: Origin) -> None:
    """A fetcher that has talked with this origin before has connections to it that it may try."""
    await driver.fetch(f"{origin.url}/echo?warm")
    retries = {"max": 1, "backoff_seconds": 0.05}
    post, put = await asyncio.gather(
        driver.fetch(f"{origin.url}/dropped?post", method="POST", body="x"),
        driver.fetch(f"{origin.url}/dropped?put", method="PUT", body="x", retries=retries),
    )
    assert post["status"] == put["status"] == "failed" and post["error"]["type"] == put["error"]["type"] == "protocol"
    assert (len(post["attempts"]), len(put["attempts"])) == (1, 2)
    hits = await origin.hits("/dropped")
    assert hits["/dropped?post"] == 1 and hits["/dropped?put"] >= 2


async def test_a_failure_that_may_pass_is_the_end_of_a_post(driver: Driver, origin: Origin) -> None:
    document = await driver.fetch(f"{origin.url}/slow/9?post", method="POST", body="x", timeout_seconds=1.5)
    assert document["error"]["type"] == "timeout" and document["attempts"][0]["evidence"]["exceeded"] == "total"
    assert await origin.hits("/slow/9?post") == {"/slow/9?post": 1}


async def test_retries_of_a_post_are_refused_by_name(driver: Driver, origin: Origin) -> None:
    request = {"url": f"{origin.url}/echo?never", "method": "POST", "retries": {"max": 1}}
    answer = await driver.client.post("/v1/fetches", json=request)
    assert answer.status_code == 422 and "retries" in answer.text
    assert await origin.hits("/echo?never") == {}
