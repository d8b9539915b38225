"""API keys of the whole system: made, used, rotated, revoked, and all of it in the audit log without a secret."""

import asyncio
from typing import Any

import httpx2
import pytest
from driver import Driver
from system import System

REVOCATION_SECONDS = 30


@pytest.fixture
async def made(driver: Driver) -> dict[str, Any]:
    """A key that was made just now, with its secret."""
    answer = await driver.client.post("/v1/keys", json={"name": "walk", "tenant": "acme", "limits": {"queued_fetches": 1000}})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _ask(driver: Driver, secret: str, path: str = "/v1/key") -> httpx2.Response:
    return await driver.client.get(path, headers={"Authorization": f"Bearer {secret}"})


async def test_a_key_lives_from_its_making_to_its_revocation(driver: Driver, made: dict[str, Any], system: System) -> None:
    path, first = made["links"]["self"], made["secret"]
    assert (await _ask(driver, first)).json()["tenant"] == "acme"
    assert (await _ask(driver, first, "/v1/keys")).status_code == 403
    changed = await driver.client.patch(path, json={"name": "walked", "limits": {"queued_fetches": None}})
    assert (changed.json()["name"], changed.json()["limits"]["queued_fetches"]) == ("walked", None)
    second = (await driver.client.post(f"{path}/rotate", json={"overlap_seconds": 600})).json()["secret"]
    assert [(await _ask(driver, secret)).status_code for secret in (first, second)] == [200, 200]
    third = (await driver.client.post(f"{path}/rotate", json={"overlap_seconds": 0})).json()["secret"]
    assert [(await _ask(driver, secret)).status_code for secret in (first, second, third)] == [401, 401, 200]
    listed = (await driver.client.get("/v1/keys", params={"tenant": "acme", "limit": 200})).json()["items"]
    assert [key["name"] for key in listed if key["id"] == made["id"]] == ["walked"]
    assert (await driver.client.delete(path)).json()["state"] == "revoked"
    assert (await _ask(driver, third)).status_code == 401
    operations = (await driver.client.get("/v1/audit", params={"limit": 200})).json()["items"]
    actions = [entry["action"] for entry in operations if entry["subject"] == made["id"]]
    assert actions == ["key.revoke", "key.rotate", "key.rotate", "key.change", "key.create"], "the newest first"
    for service in ("gateway", "store"):
        log = await system.log(service)
        assert not any(secret in log for secret in (first, second, third))


async def test_a_key_is_good_while_the_store_is_away_and_revoked_by_whoever_reaches_it(
    driver: Driver, made: dict[str, Any], system: System
) -> None:
    assert (await _ask(driver, made["secret"])).status_code == 200
    await system.kill("store")
    assert (await _ask(driver, made["secret"])).status_code == 200
    await system.wait_until_ready()
    async with asyncio.timeout(REVOCATION_SECONDS):
        while (await driver.client.delete(made["links"]["self"])).status_code != 200:
            await asyncio.sleep(0.1)
    assert (await _ask(driver, made["secret"])).status_code == 401
