"""The internal API as its two callers use it, over a real database."""

import hashlib
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
import zstandard
from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsAvailability, RobotsFile
from ledger_words import accept_events, accepted, at
from redis.asyncio import Redis
from store.api.access import Access
from store.app import create_app
from store.database import Pool, fetch_rows
from store.dispatch.broker import BrokerState
from store.hosts.pace import PaceSettings
from store.maintenance.robots_pruner import RobotsPruner
from store.metrics import StoreMetrics

TOKEN = "a-token-of-services"
BODY = b"x" * 5000


@pytest.fixture
async def client(pool: Pool, events: Redis) -> AsyncIterator[httpx2.AsyncClient]:
    """A caller that knows the token."""
    access = Access(
        pool=pool,
        events=events,
        source="store/t",
        token=TOKEN,
        upload_limit_bytes=10_000,
        has_fetcher=lambda: True,
        fleet=lambda: BrokerState(slots=32, workers=2, has_marker=True),
        pace=PaceSettings(delay_ms=0, max_in_flight=1),
        metrics=StoreMetrics(),
        wake_dispatcher=lambda: None,
        wake_relay=lambda: None,
    )
    app = create_app(access)
    transport = httpx2.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://store", headers=headers) as opened:
        yield opened


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


async def _put(client: httpx2.AsyncClient, digest: str, body: bytes, *, size: int = len(BODY)) -> int:
    headers = {"X-Content-Size-Bytes": str(size)}
    return (await client.put(f"/internal/v1/contents/{digest}", content=body, headers=headers)).status_code


async def test_an_upload_is_kept_once(client: httpx2.AsyncClient, pool: Pool) -> None:
    for _ in range(2):
        assert await _put(client, _digest(BODY), zstandard.compress(BODY)) == 204
    rows = await fetch_rows(pool, "SELECT size_bytes, body FROM contents")
    assert [(row["size_bytes"], zstandard.decompress(row["body"])) for row in rows] == [(len(BODY), BODY)]


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (zstandard.compress(b"other bytes"), 11),
        (zstandard.compress(BODY), len(BODY) - 1),
        (zstandard.compress(BODY), len(BODY) + 1),
        (b"not zstd", len(BODY)),
        (b"", len(BODY)),
    ],
)
async def test_an_upload_that_is_not_what_it_says_is_refused(
    client: httpx2.AsyncClient, pool: Pool, body: bytes, size: int
) -> None:
    assert await _put(client, _digest(BODY), body, size=size) == 422
    assert await fetch_rows(pool, "SELECT 1 FROM contents") == []


async def test_an_upload_over_the_limit_is_refused(client: httpx2.AsyncClient) -> None:
    assert await _put(client, _digest(BODY), b"x" * 10_001) == 413


async def test_a_fetch_is_read_and_an_unknown_one_is_not(client: httpx2.AsyncClient, pool: Pool) -> None:
    event = accepted(1)
    await accept_events(pool, event, now=at(0))
    answer = await client.get(f"/internal/v1/fetches/{event.data.fetches[0].id}")
    assert answer.status_code == 200 and answer.json()["url"] == "http://a.test/0"
    assert (await client.get(f"/internal/v1/fetches/{event.data.fetches[0].id}/content")).status_code == 204
    assert (await client.get(f"/internal/v1/fetches/{uuid4()}")).status_code == 404
    assert (await client.get(f"/internal/v1/fetches/{uuid4()}/content")).status_code == 404


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", TOKEN])
async def test_nobody_gets_in_without_the_token(client: httpx2.AsyncClient, authorization: str) -> None:
    headers = {"Authorization": authorization}
    assert (await client.get(f"/internal/v1/fetches/{uuid4()}", headers=headers)).status_code == 401
    digest = _digest(BODY)
    upload = await client.put(f"/internal/v1/contents/{digest}", content=b"", headers={**headers, "X-Content-Size-Bytes": "1"})
    assert upload.status_code == 401
    assert (await client.get("/internal/v1/robots", params={"origin": "http://a.test"}, headers=headers)).status_code == 401
    assert (await client.put("/internal/v1/robots", content=b"{}", headers=headers)).status_code == 401


def _robots(text: str, *, seconds: float) -> str:
    file = RobotsFile(
        origin="http://a.test",
        availability=RobotsAvailability.FOUND,
        status=200,
        text=text,
        fetched_at=at(seconds),
        expires_at=at(seconds + 60),
    )
    return file.model_dump_json()


async def test_robots_files_are_shared_and_the_newer_one_stays(client: httpx2.AsyncClient) -> None:
    path, origin = "/internal/v1/robots", {"origin": "http://a.test"}
    assert (await client.get(path, params=origin)).status_code == 404
    for text, seconds in (("first", 0), ("third\0", 20), ("second", 10)):
        assert (await client.put(path, content=_robots(text, seconds=seconds))).status_code == 204
    kept = RobotsFile.model_validate_json((await client.get(path, params=origin)).content)
    assert (kept.text, kept.fetched_at, kept.expires_at) == ("third\0", at(20), at(80))


async def test_an_expired_copy_that_serves_on_replaces_itself_and_never_the_other_way(client: httpx2.AsyncClient) -> None:
    path, origin = "/internal/v1/robots", {"origin": "http://a.test"}
    first = RobotsFile.model_validate_json(_robots("a", seconds=0))
    for expires in (at(60), at(600), at(30)):
        content = first.model_copy(update={"expires_at": expires}).model_dump_json()
        assert (await client.put(path, content=content)).status_code == 204
    kept = RobotsFile.model_validate_json((await client.get(path, params=origin)).content)
    assert (kept.fetched_at, kept.expires_at) == (at(0), at(600)), "long expired by now, and still given out"


async def test_a_robots_file_of_the_full_length_in_the_longest_encoding_passes(client: httpx2.AsyncClient) -> None:
    path, origin = "/internal/v1/robots", {"origin": "http://a.test"}
    text = "\ufffd" * ROBOTS_LIMIT_BYTES
    escaped = json.dumps(json.loads(_robots(text, seconds=0)))
    assert escaped.count("\\ufffd") == ROBOTS_LIMIT_BYTES
    for content in (escaped, _robots(text, seconds=1)):
        assert (await client.put(path, content=content)).status_code == 204
    assert RobotsFile.model_validate_json((await client.get(path, params=origin)).content).text == text


async def test_robots_files_that_cannot_be_kept_are_refused(client: httpx2.AsyncClient) -> None:
    path = "/internal/v1/robots"
    too_long = _robots("", seconds=0).replace('"text":""', '"text":"' + "x" * (ROBOTS_LIMIT_BYTES + 1) + '"')
    assert (await client.put(path, content=too_long)).status_code == 413
    assert (await client.put(path, content=b"x" * (ROBOTS_LIMIT_BYTES * 7))).status_code == 413
    assert (await client.put(path, content=b"{}")).status_code == 422
    assert (await client.get(path, params={"origin": "file:///etc"})).status_code == 422


async def test_robots_files_are_pruned_after_their_time_and_beyond_the_limit(client: httpx2.AsyncClient, pool: Pool) -> None:
    for number in range(3):
        text = _robots("x" * 2000, seconds=number).replace("http://a.test", f"http://a{number}.test")
        await client.put("/internal/v1/robots", content=text)
    metrics = StoreMetrics()
    pruner = RobotsPruner(pool=pool, retention_seconds=10**9, limit_bytes=2 * (2000 + 1024), metrics=metrics)
    await pruner.run_once()
    assert [row["origin"] for row in await fetch_rows(pool, "SELECT origin FROM robots_files ORDER BY origin")] == [
        "http://a1.test",
        "http://a2.test",
    ]
    await RobotsPruner(pool=pool, retention_seconds=0, limit_bytes=10**9, metrics=metrics).run_once()
    assert metrics.registry.get_sample_value("fetchwork_robots_files") == 0
    assert metrics.registry.get_sample_value("fetchwork_robots_pruned_total") == 3
