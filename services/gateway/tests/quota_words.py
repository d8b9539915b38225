"""Words that the tests of quotas share: gateways of limited keys, the headers as the draft writes them, and time that passes."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import limited_gateway
from fetchwork_local.ports import free_port
from gateway_words import KEY
from little_store import TOKEN
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from gateway.access.quotas import PREFIX

START_SECONDS = 20
ITEM = re.compile(r'"([a-z]+)"((?:;[a-z]+=\d+)+)')

PASS_TIME = """
for _, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, math.max(0, left - ARGV[1])) end
end
"""


@dataclass(frozen=True, kw_only=True)
class LimitedGateway:
    """A process of `limited_gateway.py`."""

    url: str
    metrics_url: str

    async def metrics(self) -> dict[tuple[str, str], float]:
        """Samples by name and by the value of their one label."""
        async with httpx2.AsyncClient(base_url=self.metrics_url) as operator:
            text = (await operator.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, "".join(sample.labels.values())): sample.value for sample in samples}

    def client(self, name: str, **limits: int) -> httpx2.AsyncClient:
        """A client with the key of that name and those limits."""
        key = ";".join([name, *(f"{limit}={amount}" for limit, amount in limits.items())])
        return httpx2.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=10)


@asynccontextmanager
async def limited_gateway_process(
    *, events_url: str, store_url: str, log: Path, extra: Mapping[str, str]
) -> AsyncIterator[LimitedGateway]:
    """A gateway of limited keys that serves while the context is open."""
    port, metrics_port = free_port(), free_port()
    environment = {
        **extra,
        "PATH": os.environ["PATH"],
        "FETCHWORK_PORT": str(port),
        "FETCHWORK_METRICS_PORT": str(metrics_port),
        "FETCHWORK_API_KEY": KEY,
        "FETCHWORK_EVENTS_URL": events_url,
        "FETCHWORK_STORE_URL": store_url,
        "FETCHWORK_STORE_TOKEN": TOKEN,
    }
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(limited_gateway.__file__), env=environment, stdout=written, stderr=asyncio.subprocess.STDOUT
        )
    try:
        await _wait_until_alive(f"http://127.0.0.1:{port}")
        yield LimitedGateway(url=f"http://127.0.0.1:{port}", metrics_url=f"http://127.0.0.1:{metrics_port}")
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def _wait_until_alive(url: str) -> None:
    async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient(base_url=url) as client:
        while True:
            try:
                if (await client.get("/livez")).status_code == 200:
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


def items(field: str) -> dict[str, dict[str, int]]:
    """A list of strings with integers as parameters (RFC 9651, section 3.1), which both fields of the draft are."""
    found = [ITEM.fullmatch(item) for item in re.split(r"[ \t]*,[ \t]*", field)]
    assert all(found), field
    pairs = [(match[1], match[2].strip(";").split(";")) for match in found if match]
    return {name: {word: int(value) for word, value in (part.split("=") for part in parts)} for name, parts in pairs}


async def pass_time(events: Redis, seconds: float) -> None:
    """Make every counter as old as if so much time had passed: they know time by when they expire."""
    keys = [key async for key in events.scan_iter(f"{PREFIX}:*")]
    await events.eval(PASS_TIME, len(keys), *keys, round(seconds * 1000))
