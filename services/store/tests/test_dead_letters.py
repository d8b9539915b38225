"""Parked messages: listed, put back, and noted; and a Redis that does not answer changes nothing."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_words import Caller, open_caller
from common.contracts.dead_letters import DeadLetterPage, DeadLetterView
from common.streams.appender import Appender
from common.streams.connection import connect_redis
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, INGESTING_HASH
from common.streams.publisher import Publication, publish
from ingest_bench import Bench
from ledger_words import accept_events, accepted, attempted, fetched, wrap_attempted
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from store.database import Pool, fetch_rows

PATH = "/internal/v1/dead-letters"


@pytest.fixture
async def caller(pool: Pool, events: Redis) -> AsyncIterator[Caller]:
    """An operator's gateway."""
    async with open_caller(pool, events) as opened:
        yield opened


async def _page(caller: Caller, **query: object) -> DeadLetterPage:
    answer = await caller.http.get(PATH, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return DeadLetterPage.model_validate(answer.json())


async def test_the_newest_are_listed_first_with_the_beginning_of_their_text(caller: Caller, pool: Pool, events: Redis) -> None:
    bench = Bench(events, pool)
    for number in range(5):
        await events.xadd(ATTEMPTED_STREAM, {"event": b"\xff" + str(number).encode() * 5000, "body": b"\x00" * 10})
    await bench.record.run_once()
    first = await _page(caller, limit=3)
    assert [letter.text[:3] for letter in first.items] == ["\ufffd44", "\ufffd33", "\ufffd22"]
    assert {(letter.size_bytes, len(letter.text), letter.stream) for letter in first.items} == {(5011, 2000, ATTEMPTED_STREAM)}
    assert all(letter.reason.startswith("undecodable") and letter.redriven_at is None for letter in first.items)
    rest = await _page(caller, limit=3, after=first.next_cursor)
    assert ([letter.text[1] for letter in rest.items], rest.next_cursor) == (["1", "0"], None)


async def test_a_message_is_put_back_as_it_came_and_applied_once_it_can_be(caller: Caller, pool: Pool, events: Redis) -> None:
    """An attempt that overtook the acceptance of its fetch, say."""
    bench, event = Bench(events, pool), accepted(1)
    attempt = wrap_attempted(attempted(event.data.fetches[0].id, fetched()))
    await publish(Appender(events, ATTEMPTED_STREAM), [Publication(event=attempt, body=b"\x00\xff")])
    await bench.record.run_once()
    (letter,) = (await _page(caller)).items
    await accept_events(pool, event, now=None)
    answer = await caller.http.post(f"{PATH}/{letter.id}/redrive", json={"actor": "op"})
    assert answer.status_code == 200 and DeadLetterView.model_validate(answer.json()).redriven_at is not None
    (first, second) = await events.xrange(ATTEMPTED_STREAM)
    assert first[1] == second[1], "every byte of it"
    await bench.record.run_once()
    assert (await fetch_rows(pool, "SELECT status FROM fetches"))[0]["status"] == "succeeded"
    (row,) = await fetch_rows(pool, "SELECT actor, action, subject, detail FROM operator_log")
    assert (row["actor"], row["action"], row["subject"]) == ("op", "dead_letter.redrive", str(letter.id))
    assert json.loads(row["detail"])["new_entry_id"] == second[0].decode()
    assert [one.id for one in (await _page(caller)).items] == [letter.id]


async def test_what_is_refused_again_is_parked_again(caller: Caller, pool: Pool, events: Redis) -> None:
    bench = Bench(events, pool)
    await events.xadd(ACCEPTED_STREAM, {"event": b"garbage"})
    await bench.accept.run_once()
    (letter,) = (await _page(caller)).items
    await caller.http.post(f"{PATH}/{letter.id}/redrive", json={"actor": "op"})
    await bench.accept.run_once()
    again, before = (await _page(caller)).items
    assert before.id == letter.id and before.redriven_at is not None
    assert (again.redriven_at, again.text) == (None, "garbage") and again.entry_id != letter.entry_id


async def test_what_cannot_be_put_back_is_not_noted_as_such(caller: Caller, pool: Pool, events: Redis) -> None:
    await events.xadd(ACCEPTED_STREAM, {"event": b"garbage"})
    await Bench(events, pool).accept.run_once()
    (letter,) = (await _page(caller)).items
    nobody = connect_redis("redis://127.0.0.1:1/0")
    async with open_caller(pool, nobody) as cut_off:
        answer = await cut_off.http.post(f"{PATH}/{letter.id}/redrive", json={"actor": "op"})
    await nobody.aclose()
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    assert (await _page(caller)).items[0].redriven_at is None
    assert await fetch_rows(pool, "SELECT 1 FROM operator_log") == []


async def test_unknown_ones_and_strangers(caller: Caller) -> None:
    assert (await caller.http.post(f"{PATH}/77/redrive", json={"actor": "op"})).status_code == 404
    assert (await caller.http.post(f"{PATH}/77/redrive", json={})).status_code == 422
    assert (await caller.http.get(PATH, params={"after": "x"})).status_code == 422
    assert (await caller.http.get(PATH, headers={"Authorization": ""})).status_code == 401
    assert (await caller.http.post(f"{PATH}/77/redrive", json={"actor": "o"}, headers={"Authorization": ""})).status_code == 401


async def test_the_stores_own_user_may_put_back_and_nothing_more(
    pool: Pool, events: Redis, events_url: str, repository: Path
) -> None:
    """By the access list as it is deployed."""
    lines = (repository / "deploy/redis/events.acl").read_text(encoding="utf-8").splitlines()
    (rules,) = [line.split()[2:] for line in lines if line.startswith("user store ")]
    rules = [">secret" if rule.startswith("#@") else rule for rule in _rules(rules)]
    await events.execute_command("ACL", "SETUSER", "store", "reset", *rules)
    await events.xadd(ACCEPTED_STREAM, {"event": b"garbage"})
    await Bench(events, pool).accept.run_once()
    as_store = connect_redis(f"redis://store:secret@{events_url.rpartition('@')[2]}")
    try:
        async with open_caller(pool, as_store) as caller:
            (letter,) = (await _page(caller)).items
            answer = await caller.http.post(f"{PATH}/{letter.id}/redrive", json={"actor": "op"})
            assert answer.status_code == 200, answer.text
        assert await events.xlen(ACCEPTED_STREAM) == 2
        for key in (INGESTING_HASH, "fetchwork:v1:stream:other"):
            with pytest.raises(ResponseError, match="(?i)perm"):
                await as_store.xadd(key, {"event": b"x"})
    finally:
        await as_store.aclose()
        await events.execute_command("ACL", "DELUSER", "store")


def _rules(words: list[str]) -> list[str]:
    """A selector in parentheses is one argument."""
    joined = list[str]()
    for word in words:
        if joined and joined[-1].startswith("(") and not joined[-1].endswith(")"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined
