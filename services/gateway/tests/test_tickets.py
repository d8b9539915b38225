"""Tickets: the feed for who has no key, for a while, and nothing else; never kept, never told to logs."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from common.contracts.keys import Scope
from common.contracts.tenants import DEFAULT_TENANT
from common.streams.connection import connect_redis
from common.streams.appender import Appender
from common.streams.feed import append_to_feed
from common.streams.names import ACCEPTED_STREAM, FEED_STREAM, INGESTING_HASH
from feed_words import NOW, begin, catch_up, stream, take, tell_many, wait_until
from gateway_lives import GatewayProcess, serving
from gateway_words import KEY, assert_problem, key_record, new_key
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from gateway.access.tickets import Tickets
from gateway.principal import Principal
from gateway.problems.answers import Problem


@pytest.fixture
async def stranger(gateway: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a key."""
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=10) as opened:
        yield opened


async def test_a_ticket_opens_streams_and_pages(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, events: Redis
) -> None:
    start = await begin(events, client)
    answer = await client.post("/v1/events/tickets")
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document["url"] == f"/v1/events?ticket={document['ticket']}" and len(document["ticket"]) == 43
    assert document["expires_at"].endswith("Z")
    told = await tell_many(events, 2)
    await tell_many(events, 1, tenant="other")
    for _ in range(2):  # a browser comes back with the same URL
        async with stream(stranger, after=start, ticket=document["ticket"]) as sent:
            assert [event.json()["subject"] for event in await take(sent, 2)] == told
    await catch_up(events, client)
    page = (await stranger.get(document["url"], params={"after": start, "ticket": document["ticket"]})).json()
    assert [event["subject"] for event in page["items"]] == told


async def test_a_ticket_opens_nothing_else(client: httpx2.AsyncClient, stranger: httpx2.AsyncClient) -> None:
    query = {"ticket": (await client.post("/v1/events/tickets")).json()["ticket"]}
    for method, path in (
        ("POST", "/v1/events/tickets"), ("POST", "/v1/fetches"), ("GET", "/v1/events/"), ("GET", "/v1/hosts"),
        ("HEAD", "/v1/events"),
    ):
        answer = await stranger.request(method, path, params=query)
        assert answer.status_code == 401, path
    wrong = {"Authorization": "Bearer wrong"}
    assert_problem(await stranger.get("/v1/events", params=query, headers=wrong), 401, "unauthenticated", is_traced=False)
    for tickets in ("", "x", query["ticket"][:-1], f"{query['ticket']}&ticket=x", KEY):
        answer = await stranger.get(f"/v1/events?ticket={tickets}")
        assert_problem(answer, 401, "unauthenticated", is_traced=False)
    assert (await stranger.get("/v1/events", params={"api_key": KEY})).status_code == 401


async def test_a_ticket_has_its_makers_tenant_and_key_and_may_only_read(events: Redis) -> None:
    tickets = Tickets(events, ttl_seconds=60, per_key_limit=3)
    maker = Principal(actor="key:1", tenant="acme", key_id="0123456789ab")
    ticket = await tickets.make(maker, now=NOW)
    assert (ticket.expires_at - NOW).total_seconds() == 60
    holder = await tickets.find_holder(ticket.secret)
    assert holder == Principal(
        actor="key:1", tenant="acme", key_id="0123456789ab", scopes=frozenset({Scope.FETCH_READ})
    )
    for _ in range(2):
        await tickets.make(maker, now=NOW)
    with pytest.raises(Problem, match="3 tickets"):
        await tickets.make(maker, now=NOW)
    await tickets.make(Principal(actor="key:2"), now=NOW)


async def test_a_ticket_ends_with_its_makers_key(client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, events: Redis) -> None:
    gone = Principal(actor="key:gone", key_id="goneGONEgone")
    ticket = await Tickets(events, ttl_seconds=60, per_key_limit=3).make(gone, now=NOW)
    answer = await stranger.get("/v1/events", params={"ticket": ticket.secret})
    assert_problem(answer, 401, "unauthenticated", is_traced=False)


async def test_a_ticket_ends_with_the_secret_that_made_it(
    gateway: Any, stranger: httpx2.AsyncClient, events: Redis
) -> None:
    key = new_key()
    gateway.store.keys.put(key_record(key, now=NOW))
    answer = await stranger.post("/v1/events/tickets", headers={"Authorization": f"Bearer {key.text}"})
    query = {"ticket": answer.json()["ticket"]}
    assert (await stranger.get("/v1/events", params=query)).status_code == 200
    gateway.store.keys.put(key_record(key, now=NOW), digest=new_key().digest)  # rotated without an overlap
    async with asyncio.timeout(10):
        while (await stranger.get("/v1/events", params=query)).status_code != 401:
            await asyncio.sleep(0.05)
    other = await Tickets(events, ttl_seconds=60, per_key_limit=3).make(Principal(actor="key:first", digest="f" * 64), now=NOW)
    assert (await stranger.get("/v1/events", params={"ticket": other.secret})).status_code == 401, "another first key"


async def test_redis_keeps_digests_that_expire(client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, events: Redis) -> None:
    secret = (await client.post("/v1/events/tickets")).json()["ticket"]
    keys = [key async for key in events.scan_iter("fetchwork:v1:ticket:*")]
    assert len(keys) == 2
    for key in keys:
        assert 0 < await events.ttl(key) <= 3600
        assert secret.encode() not in key + await events.get(key)
    (ticket,) = [key for key in keys if b":made:" not in key]
    assert re.fullmatch(rb"fetchwork:v1:ticket:[0-9a-f]{64}", ticket)
    await events.delete(ticket)  # as its expiry does
    assert (await stranger.get("/v1/events", params={"ticket": secret})).status_code == 401


async def test_no_span_tells_a_ticket(
    tmp_path: Path, events: Redis, events_url: str, measured: Mapping[str, str], collector: tuple[str, bytearray]
) -> None:
    """A request with a ticket has no span; those before and after it have theirs."""
    url, spans = collector
    traced = {**measured, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with serving(tmp_path, events_url=events_url, measured=traced) as gateway:
        async with gateway.client() as client, httpx2.AsyncClient(base_url=gateway.url) as stranger:
            secret = (await client.post("/v1/events/tickets")).json()["ticket"]
            assert (await stranger.get("/v1/events", params={"ticket": secret})).status_code == 200
            assert (await stranger.get(f"/v1/fetches?%74icket={secret}")).status_code == 401
            assert (await client.get("/v1/key")).status_code == 200
            await wait_until(lambda: b"/v1/key" in spans)
    assert secret.encode() not in spans
    assert secret.encode() not in gateway.log.read_bytes()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[str, bytearray]]:
    """Where spans are sent, and the bytes of all that came."""
    received = bytearray()

    async def keep(request: web.Request) -> web.Response:
        received.extend(await request.read())
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/v1/traces", keep)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", received
    await runner.cleanup()


@pytest.fixture
async def deployed(
    tmp_path: Path, events: Redis, events_url: str, repository: Path, measured: Mapping[str, str]
) -> AsyncIterator[GatewayProcess]:
    """A gateway that is the events Redis' user `gateway`, by the access list as it is deployed."""
    lines = (repository / "deploy/redis/events.acl").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("user gateway ")]
    rules = [">secret" if rule.startswith("#@") else rule for rule in re.findall(r"\([^)]*\)|\S+", line)[2:]]
    await events.execute_command("ACL", "SETUSER", "gateway", "reset", *rules)
    url = f"redis://gateway:secret@{events_url.rpartition('@')[2]}"
    async with serving(tmp_path, events_url=url, measured=measured, feed_ring_entries=1) as gateway:
        yield gateway
    await events.execute_command("ACL", "DELUSER", "gateway")


async def test_the_gateways_own_user_may_do_this_and_no_more(deployed: GatewayProcess, events: Redis, events_url: str) -> None:
    """Nothing of a ticket is in the log either."""
    async with deployed.client() as client, httpx2.AsyncClient(base_url=deployed.url) as stranger:
        secret = (await client.post("/v1/events/tickets")).json()["ticket"]
        start = await begin(events, client)
        told = await tell_many(events, 5)
        async with stream(stranger, after=start, ticket=secret) as sent:
            assert [event.json()["subject"] for event in await take(sent, 5)] == told
        assert (await client.post("/v1/fetches", json={"url": "http://a.test/"})).status_code == 202
        samples = await deployed.metrics()
    assert samples["fetchwork_feed_failures_total", ""] == 0 and samples["fetchwork_feed_pages_total", "history"] > 0
    assert secret.encode() not in deployed.log.read_bytes()
    user = connect_redis(f"redis://gateway:secret@{events_url.rpartition('@')[2]}")
    with pytest.raises(NoPermissionError):
        await append_to_feed(Appender(user, FEED_STREAM), [(b"{}", DEFAULT_TENANT)])
    for command in (
        ("GET", INGESTING_HASH), ("SET", "x", "y"), ("DEL", FEED_STREAM), ("XTRIM", FEED_STREAM, "MAXLEN", "0"),
        ("XREAD", "STREAMS", ACCEPTED_STREAM, "0"), ("KEYS", "*"),
    ):
        with pytest.raises(NoPermissionError):
            await user.execute_command(*command)
    await user.aclose()
