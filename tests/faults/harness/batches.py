"""Batches of clients that try again, as `harness.load` has it for single fetches."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from harness.cluster import Cluster
from harness.load import ANSWER_TIMEOUT_SECONDS, PATIENCE_SECONDS, REQUEST, TRY_AGAIN_SECONDS


async def try_batch(cluster: Cluster, tokens: Sequence[str], *, key: str) -> tuple[int, dict[str, Any]]:
    """One `POST /v1/batches`, a line a token: the status (0 without an answer) and the document."""
    lines = "".join(json.dumps({"url": cluster.origin.url(token), **REQUEST}) + "\n" for token in tokens)
    headers = {
        "Authorization": f"Bearer {cluster.api_key}",
        "Content-Type": "application/x-ndjson",
        "Idempotency-Key": key,
    }
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            async with session.post(f"{cluster.gateway_url}/v1/batches", data=lines, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return 0, {}


async def submit_batch(cluster: Cluster, tokens: Sequence[str], *, key: str) -> dict[str, Any]:
    """POST it until it is accepted; the receipt. Raises AssertionError when that takes a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status, document = await try_batch(cluster, tokens, key=key)
        if status == 202:
            return document
        assert status in (0, 409, 425, 429, 503), (status, document)
        assert time.monotonic() < deadline, f"the batch was not accepted in {PATIENCE_SECONDS} s: {status}"
        await asyncio.sleep(TRY_AGAIN_SECONDS)
