"""Plans over REST, through a real gateway: one item a URL whatever it is, and nothing of it is fetched or looked up.

Only literals and names that are refused as they are: a name that is looked up would be asked for outside this machine.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from common.streams.names import ACCEPTED_STREAM
from gateway_words import assert_problem
from redis.asyncio import Redis

PATH = "/v1/fetches:plan"
PUBLIC = "http://93.184.216.34/"

JUDGED: list[tuple[str, str | None, str]] = [
    (PUBLIC, PUBLIC, "public"),
    ("HTTPS://93.184.216.34:443/a?b#c", "https://93.184.216.34/a?b", "public"),
    ("http://[2606:4700:0:0:0:0:0:10]/", "http://[2606:4700::10]/", "public"),
    ("http://127.0.0.1/", "http://127.0.0.1/", "deny_loopback"),
    ("http://[::1]/", "http://[::1]/", "deny_loopback"),
    ("http://[::ffff:7f00:1]/", "http://[::ffff:7f00:1]/", "deny_embeds_ipv4"),
    ("http://169.254.169.254/latest/", "http://169.254.169.254/latest/", "deny_link_local"),
    ("http://10.0.0.5:8080/", "http://10.0.0.5:8080/", "deny_private"),
    ("http://93.184.216.34:22/", "http://93.184.216.34:22/", "deny_port"),
    ("http://localhost/", "http://localhost/", "deny_name"),
    ("http://LOCALHOST./", "http://localhost/", "deny_name"),
    ("http://redis.default.svc/", "http://redis.default.svc/", "deny_name"),
    ("http://metadata/", "http://metadata/", "deny_name"),
    ("http://example.com:6379/", "http://example.com:6379/", "deny_port"),
    ("ftp://example.com/", None, "deny_scheme"),
    ("http://user:secret@example.com/", None, "deny_url"),
    ("http://2130706433/", None, "deny_url"),
    ("http://0x7f.1/", None, "deny_url"),
    ("http://%31%32%37.0.0.1/", None, "deny_url"),
    ("http://example.com:99999/", None, "deny_url"),
    ("http://exam ple.com/", None, "deny_url"),
    ("example.com", None, "deny_url"),
    ("", None, "deny_url"),
    ("http://example.com/" + "a" * 5000, None, "deny_url"),
]


async def _plan(client: httpx2.AsyncClient, *urls: str) -> list[dict[str, Any]]:
    answer = await client.post(PATH, json={"urls": urls})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_every_url_has_its_item_in_order(client: httpx2.AsyncClient, gateway: Any) -> None:
    items = await _plan(client, *(url for url, _, _ in JUDGED))
    told = [(item["url"], item["normalized_url"], item["egress"]["reason"]) for item in items]
    assert told == JUDGED
    for item in items:
        is_refused = item["egress"]["verdict"] == "refuse"
        assert is_refused is item["egress"]["reason"].startswith("deny_")
        assert (item["egress"]["detail"] is not None) is (item["normalized_url"] is None), "a URL is explained, no host is"
        assert [item[name] is None for name in ("robots", "pace", "earliest_at")] == [is_refused] * 3
    [(method, path, _, inquiry)] = gateway.store.asked
    assert (method, path) == ("POST", "/internal/v1/plan"), "one call for all"
    assert inquiry["hosts"] == ["93.184.216.34", "[2606:4700::10]"], "and about nobody who is refused"
    assert inquiry["origins"] == ["http://93.184.216.34", "http://[2606:4700::10]", "https://93.184.216.34"]


async def test_nobody_is_asked_where_all_is_refused(client: httpx2.AsyncClient, gateway: Any) -> None:
    await _plan(client, "http://127.0.0.1/", "nonsense")
    assert gateway.store.asked == []


async def test_a_plan_sends_nothing_to_its_urls_and_promises_nothing(client: httpx2.AsyncClient, events: Redis) -> None:
    visits: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    [item] = await _plan(client, f"http://127.0.0.1:{port}/")
    assert item["egress"] == {"verdict": "refuse", "reason": "deny_loopback", "detail": None}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x")
    assert await reader.read() == b"" and visits == [b"x"], "ours is the only visit"
    writer.close()
    server.close()
    assert await events.keys() == [ACCEPTED_STREAM.encode()] and not await events.xlen(ACCEPTED_STREAM)


async def test_an_item_that_may_be_fetched_says_when(client: httpx2.AsyncClient) -> None:
    before = datetime.now(UTC)
    [item] = await _plan(client, PUBLIC)
    assert before <= datetime.fromisoformat(item["earliest_at"]) <= datetime.now(UTC)
    assert item["robots"]["verdict"] == "unknown" and item["pace"]["state"] == "open"


async def test_a_hundred_are_planned_and_one_more_is_refused(client: httpx2.AsyncClient) -> None:
    assert len(await _plan(client, *[PUBLIC] * 100)) == 100
    problem = assert_problem(await client.post(PATH, json={"urls": [PUBLIC] * 101}), 422, "invalid-request")
    assert problem["errors"] == [{"detail": "These are more than 100.", "pointer": "#/urls"}]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/urls"),
        ({"urls": []}, "#/urls"),
        ({"urls": PUBLIC}, "#/urls"),
        ({"urls": [PUBLIC, 7]}, "#/urls/1"),
        ({"urls": [None]}, "#/urls/0"),
        ({"urls": [PUBLIC], "fetch": True}, "#/fetch"),
        ([PUBLIC], "#"),
    ],
    ids=str,
)
async def test_what_is_no_list_of_texts_is_refused(client: httpx2.AsyncClient, body: object, pointer: str) -> None:
    errors = assert_problem(await client.post(PATH, json=body), 422, "invalid-request")["errors"]
    assert [error["pointer"] for error in errors] == [pointer]


async def test_text_that_is_no_unicode_is_no_fault_of_ours(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post(PATH, content=b'{"urls": ["", "http://a\\ud800.test/"]}', headers=headers)
    [error] = assert_problem(answer, 422, "invalid-request")["errors"]
    assert error == {"detail": "This is not Unicode text.", "pointer": "#/urls/1"}
    [item] = await _plan(client, "http://a\0.test/")
    assert item["egress"]["reason"] == "deny_url"


async def test_without_the_store_egress_is_still_answered(client: httpx2.AsyncClient, gateway: Any) -> None:
    gateway.store.is_broken = True
    allowed, refused = await _plan(client, PUBLIC, "http://10.0.0.1/")
    assert (allowed["egress"]["verdict"], refused["egress"]["verdict"]) == ("allow", "refuse")
    assert [allowed[name] for name in ("robots", "pace", "earliest_at")] == [None] * 3


async def test_a_plan_needs_a_key_and_other_methods_are_none(gateway: Any, client: httpx2.AsyncClient) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        assert_problem(await stranger.post(PATH, json={"urls": [PUBLIC]}), 401, "unauthenticated")
    assert_problem(await client.get(PATH), 405, "method-not-allowed")


async def test_plans_are_counted_and_described(client: httpx2.AsyncClient, gateway: Any) -> None:
    await _plan(client, PUBLIC)
    async with httpx2.AsyncClient() as operator:
        metrics = (await operator.get(f"{gateway.metrics_url}/metrics")).text
    assert 'fetchwork_planned_urls_total{reason="public"}' in metrics
    assert 'fetchwork_limit{link="plan_urls"} 100.0' in metrics and 'fetchwork_limit{link="plan_lookups"} 64.0' in metrics
    assert f'route="{PATH}"' in metrics
    description = (await client.get("/openapi.json")).json()
    assert description["paths"][PATH]["post"]["operationId"] == "planFetches"
    for example in description["components"]["schemas"]["PlanSubmission"]["examples"]:
        assert example["urls"]
