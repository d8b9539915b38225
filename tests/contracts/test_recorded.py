"""Events recorded from earlier releases are read by today's code, every field of them, and today's code still writes them all.

Never edit a recording; add one.
"""

import json

import httpx2
import pytest
from common.contracts.catalog import FETCH_FINISHED, FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import PerformFetches
from common.streams.names import ACCEPTED_STREAM, EVENT_FIELD
from exchanges import Everything, missing, named
from recorded_events import FOLDER, MODELS, recorded_document, recorded_event
from redis.asyncio import Redis
from store.database import Pool, fetch_rows
from store.dispatch.claim import Claimed

RECORDED = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_message_is_read_whole(name: str) -> None:
    again = json.loads(recorded_event(name).model_dump_json(exclude_none=True))
    assert missing(recorded_document(name), again) == []


def test_every_type_has_a_recording() -> None:
    assert {recorded_document(name)["type"] for name in RECORDED} == set(MODELS)


async def test_todays_promise_says_what_stores_of_then_read(gateway: httpx2.AsyncClient, events: Redis) -> None:
    """Made by today's gateway of a request that names every member, as it was recorded."""
    await named("gateway", "submit-all-members").ask(gateway)
    [(_, fields)] = await events.xrange(ACCEPTED_STREAM)
    promise = json.loads(fields[EVENT_FIELD])
    recorded = recorded_document("fetch.accepted.v1")
    del recorded["traceparent"]  # comes from tracing, which is set up in a process of its own
    assert missing(recorded, promise, varying=Everything()) == []
    assert promise["type"] == recorded["type"]


async def test_todays_command_says_what_fetchers_of_then_read(dispatched: list[Claimed]) -> None:
    [page, _] = sorted((claimed.command for claimed in dispatched), key=lambda command: command.id)
    wrapped = Envelope[PerformFetches].wrap(
        PerformFetches(fetches=(page,)), type=FETCH_PERFORM, source="s", subject="s", now=page.lease_ends_at, traceparent="t"
    )
    recorded = recorded_document("fetch.perform.v1")
    assert missing(recorded, json.loads(wrapped.model_dump_json(exclude_none=True)), varying=Everything()) == []


async def test_todays_feed_says_what_its_readers_of_then_read(store: httpx2.AsyncClient, ledger: Pool) -> None:
    rows = await fetch_rows(ledger, "SELECT event::text FROM outbox ORDER BY event::text")
    finished = [json.loads(row["event"]) for row in rows]
    assert {event["type"] for event in finished} == {FETCH_FINISHED} and len(finished) == 2
    [succeeded] = [event for event in finished if event["data"]["status"] == "succeeded"]
    assert missing(recorded_document("fetch.finished.v1"), succeeded, varying=Everything()) == []
