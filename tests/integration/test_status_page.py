"""The status page of the whole system: what really happened is on it, for who signed in, and nothing of it for anybody else."""

import asyncio
import re

import httpx2
from driver import Driver
from origin import Origin
from system import System

SECONDS = 30
REFUSED = "http://127.99.0.1:9/status-page"


async def test_the_page_tells_operators_what_happened(driver: Driver, origin: Origin, system: System) -> None:
    await driver.fetch(f"{origin.url}/page/status-page")
    failed = await driver.fetch(REFUSED)
    assert failed["status"] == "failed"
    async with httpx2.AsyncClient(base_url=system.gateway_url, timeout=10, trust_env=False) as browser:
        signed_out = await browser.get("/")
        assert signed_out.status_code == 200 and "Sign in" in signed_out.text and "127.99.0.1" not in signed_out.text
        assert (await browser.post("/session", data={"key": "wrong"})).status_code == 401
        signed_in = await browser.post("/session", data={"key": system.api_key})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
        text = await _until_named(browser, failed["id"])
    assert "127.99.0.1" in text and "Working" in text
    assert re.search(r"Workers</.*?<", text, re.DOTALL) and system.api_key not in text


async def _until_named(browser: httpx2.AsyncClient, fetch_id: str) -> str:
    """The page, once it names the fetch: a gateway keeps an overview for a moment."""
    async with asyncio.timeout(SECONDS):
        while True:
            answer = await browser.get("/")
            assert answer.status_code == 200
            if fetch_id in answer.text:
                return answer.text
            await asyncio.sleep(0.2)
