"""What must never be dialled is not dialled: listeners on refused loopback addresses see no connection.

Only loopback addresses appear here, so that even a broken guard sends nothing off this machine. Other ranges are judged
in services/fetcher/tests with a stub resolver and a stub dialer.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from driver import Driver
from origin import Canary, Origin, serve_canary


@pytest.fixture(scope="module")
async def canaries() -> AsyncIterator[dict[str, Canary]]:
    """Listeners that nobody may reach, over IPv4 and IPv6."""
    async with serve_canary("127.0.0.1") as four, serve_canary("::1") as six:
        yield {"four": four, "six": six}


def _urls(canaries: dict[str, Canary], origin: Origin) -> list[str]:
    four, six = canaries["four"], canaries["six"]
    direct = [four.url, six.url, f"http://[::ffff:127.0.0.1]:{four.port}/", f"http://localhost:{four.port}/"]
    return [*direct, *(f"{origin.url}/redirect?to={url}" for url in direct)]


async def test_refused_addresses_fail_and_are_never_dialled(driver: Driver, origin: Origin, canaries: dict[str, Any]) -> None:
    urls = _urls(canaries, origin)
    documents = await driver.finish_all(await driver.submit_all(urls))
    for url, document in zip(urls, documents, strict=True):
        assert document["status"] == "failed" and document["error"]["type"] == "refused_address", url
        assert len(document["attempts"]) == 1, "a refusal is final"
        assert "127.0.0.1" not in document["error"]["detail"] and "::1" not in document["error"]["detail"]
    assert [canary.connections for canary in canaries.values()] == [0, 0]
    assert await driver.metric("fetcher", "fetchwork_egress_refused_total") > 0


async def test_the_canaries_can_sing(canaries: dict[str, Any]) -> None:
    """The negative control: whoever does connect is seen."""
    async with serve_canary("127.0.0.1") as canary:
        reader, writer = await asyncio.open_connection("127.0.0.1", canary.port)
        assert b"secret" in await reader.read()
        writer.close()
        assert canary.connections == 1
