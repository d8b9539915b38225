"""How a gateway leaves: not ready at once, serving meanwhile on connections that end with their answer, and with code 0."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
from gateway_lives import GatewayProcess, serving
from redis.asyncio import Redis

DRAIN_SECONDS = 30
SOON_SECONDS = 15


async def test_a_draining_gateway_serves_and_moves_its_connections_and_a_second_signal_ends_it(
    events: Redis, events_url: str, measured: dict[str, str], tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, events_url=events_url, measured=measured, drain_seconds=DRAIN_SECONDS) as gateway,
        gateway.client() as client,
    ):
        before = await client.get("/livez")
        assert "connection" not in before.headers
        process = _process(gateway)
        process.terminate()
        answer = await _drained(client)
        assert "[-]draining failed: stopping" in answer.text and answer.headers["connection"] == "close"
        accepted = await client.post("/v1/fetches", json={"url": "https://a.test/"})
        assert (accepted.status_code, accepted.headers["connection"]) == (202, "close")
        assert (await client.get("/startupz")).status_code == 200
        assert process.returncode is None
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SOON_SECONDS) == 0


async def test_a_gateway_without_a_drain_ends_at_once_with_code_0(
    events: Redis, events_url: str, measured: dict[str, str], tmp_path: Path
) -> None:
    async with serving(tmp_path, events_url=events_url, measured=measured) as gateway:
        process = _process(gateway)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SOON_SECONDS) == 0
    assert "gateway stopped" in gateway.log.read_text()


def _process(gateway: GatewayProcess) -> asyncio.subprocess.Process:
    assert gateway.process is not None
    return gateway.process


async def _drained(client: httpx2.AsyncClient) -> Any:
    async with asyncio.timeout(SOON_SECONDS):
        while (answer := await client.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.02)
    return answer
