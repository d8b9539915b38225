"""Traces as a receiver gets them from a running system: one from the request to the row, links for what is done together."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic
from urllib.parse import urlsplit

import httpx2
import pytest
from common.chassis import telemetry
from opentelemetry.trace import SpanKind
from origin import Origin
from otlp_receiver import NO_PARENT, ReceivedSpan, absent_receiver, silent_receiver
from traced_system import Traced, until

ONLY_AT_THE_END = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
TRACE_ID, CALLER_SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATH_OF_A_FETCH = ("fetch.promise", "fetch.accept", "fetch.dispatch", "fetch.perform", "fetch.report", "fetch.record")
KINDS = ("PRODUCER", "CONSUMER", "PRODUCER", "CONSUMER", "PRODUCER", "CONSUMER")
SERVICES = ("gateway", "store", "store", "fetcher", "fetcher", "store")
TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "uber-trace-id"})
LINES = 50
REPLICA_FETCHES = 20
END_SECONDS = 6.0
"""A process ends in so many seconds, whatever its receiver does; the last spans have three of them."""


def _one(spans: list[ReceivedSpan], name: str) -> ReceivedSpan:
    [found] = [span for span in spans if span.name == name]
    return found


async def test_one_trace_leads_from_the_request_to_the_recorded_row(traced: Traced, website: Origin) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{CALLER_SPAN_ID}-01"}
    body = {"url": f"{website.url}/redirect?to=/page/traced"}
    answer = await traced.driver.client.post("/v1/fetches", json=body, headers=headers)
    fetch_id = answer.json()["id"]
    await traced.driver.finish(answer.headers["location"])
    wanted = {"POST /v1/fetches", *PATH_OF_A_FETCH}  # from three processes, each of which sends when it sends
    await until(lambda: wanted <= {span.name for span in traced.receiver.of_trace(TRACE_ID)}, what="its spans")
    spans = traced.receiver.of_trace(TRACE_ID)

    request = _one(spans, "POST /v1/fetches")
    assert (request.kind, request.service, request.parent_id) == ("SERVER", "gateway", CALLER_SPAN_ID)
    assert request.attributes["http.response.status_code"] == 202
    steps = [_one(spans, name) for name in PATH_OF_A_FETCH]
    assert tuple(step.kind for step in steps) == KINDS
    assert tuple(step.service for step in steps) == SERVICES
    for step, parent in zip(steps, [request, *steps], strict=False):
        assert step.parent_id == parent.span_id, step.name
        assert step.attributes["fetchwork.fetch_id"] == fetch_id
        assert step.started_ns >= parent.started_ns
        assert step.attributes["messaging.destination.name"]
    assert {"service.namespace": "fetchwork", "deployment.environment.name": "trial"}.items() <= steps[0].resource.items()

    robots, *hops = [span for span in spans if span.parent_id == steps[3].span_id and span.kind == "CLIENT"]
    assert robots.attributes["url.full"] == f"{website.url}/robots.txt"
    assert [hop.attributes.get("http.request.resend_count") for hop in hops] == [None, 1]
    assert [hop.attributes["http.response.status_code"] for hop in hops] == [302, 200]
    assert [hop.attributes["url.full"] for hop in hops] == [f"{website.url}/redirect?REDACTED", f"{website.url}/page/traced"]
    assert {hop.attributes["server.address"] for hop in hops} == {website.host}


async def test_what_is_done_together_is_linked_and_statements_are_children(traced: Traced, website: Origin) -> None:
    document = await traced.driver.fetch(f"{website.url}/page/alone")
    await until(lambda: bool(traced.receiver.of_fetch(document["id"], "fetch.record")), what="its record")
    for name, statement in (("fetch.accept", "fetches_accept"), ("fetch.record", "fetches_finish")):
        [step] = traced.receiver.of_fetch(document["id"], name)
        [(_, set_id)] = step.links
        await until(lambda set_id=set_id: any(span.span_id == set_id for span in traced.receiver.spans), what="the set")
        [together] = [span for span in traced.receiver.spans if span.span_id == set_id]
        assert together.kind == "CONSUMER" and together.name == f"process {step.attributes['messaging.destination.name']}"
        assert (step.trace_id, step.parent_id) in together.links, "it links to where the entry was made"
        assert len(together.links) == together.attributes["messaging.batch.message_count"]
        statements = {span.name: span for span in traced.receiver.spans if span.parent_id == set_id}
        assert statement in statements and {"BEGIN", "COMMIT"} <= statements.keys()
        assert statements[statement].attributes["db.system.name"] == "postgresql"
    [dispatched] = traced.receiver.of_fetch(document["id"], "fetch.dispatch")
    sends = [span for span in traced.receiver.spans if (dispatched.trace_id, dispatched.span_id) in span.links]
    assert [send.name for send in sends] == ["send fetchwork.v1.perform"]


async def test_a_batch_is_a_trace_a_fetch_and_each_links_to_its_promise(traced: Traced, website: Origin) -> None:
    lines = "\n".join(json.dumps({"url": f"{website.url}/page/batch-{number}"}) for number in range(LINES))
    answer = await traced.driver.client.post("/v1/batches", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code in (200, 201, 202), answer.text

    def of_batch(name: str) -> list[ReceivedSpan]:
        return [span for span in list(traced.receiver.spans) if span.name == name and "fetchwork.batch_id" in span.attributes]

    await until(lambda: len(of_batch("fetch.accept")) == LINES, what="all accepted")
    accepted = {span.trace_id: span for span in of_batch("fetch.accept")}
    assert len(accepted) == LINES, "a trace for each"

    def have_all(name: str) -> bool:
        return accepted.keys() <= {span.trace_id for span in list(traced.receiver.spans) if span.name == name}

    for name in ("fetch.record", "fetch.perform", "fetch.report"):
        await until(lambda name=name: have_all(name), what=name, seconds=30)
    promises = {(span.trace_id, span.span_id) for span in of_batch("fetch.promise")}
    assert {span.trace_id for span in of_batch("fetch.promise")}.isdisjoint(accepted)
    for span in accepted.values():
        assert span.parent_id == NO_PARENT and len(promises.intersection(span.links)) == 1
        names = Counter(one.name for one in traced.receiver.of_trace(span.trace_id))
        assert names["fetch.perform"] == names["fetch.report"] == names["fetch.record"]


async def test_an_origin_never_gets_a_trace_header(traced: Traced, website: Origin) -> None:
    sibling = await website.with_robots("User-agent: *\nAllow: /\n")
    path = "/page/no-headers"
    document = await traced.driver.fetch(f"{sibling}{path}", robots="obey")
    assert document["status"] == "succeeded"
    for asked in (path, f"{urlsplit(sibling).port}/robots.txt"):
        sent = await website.headers(asked)
        assert sent and TRACE_HEADERS.isdisjoint(name.lower() for name in sent)


async def test_what_a_host_does_wrong_is_in_the_spans_by_its_kind(traced: Traced, website: Origin) -> None:
    document = await traced.driver.fetch(f"http://{website.host}:1/", retries={"max": 0}, robots="ignore")
    await until(lambda: bool(traced.receiver.of_fetch(document["id"], "fetch.perform")), what="its attempt")
    [attempt] = traced.receiver.of_fetch(document["id"], "fetch.perform")
    children = [span for span in traced.receiver.of_trace(attempt.trace_id) if span.parent_id == attempt.span_id]
    [hop] = [span for span in children if span.kind == "CLIENT"]
    assert attempt.is_error and hop.is_error
    assert attempt.attributes["error.type"] == hop.attributes["error.type"] == "connect"


async def test_the_stores_api_goes_on_with_the_gateways_trace(traced: Traced, website: Origin) -> None:
    trace_id = "a" * 32
    headers = {"traceparent": f"00-{trace_id}-{CALLER_SPAN_ID}-01"}
    assert (await traced.driver.client.get("/v1/fetches?limit=1", headers=headers)).status_code == 200

    def served() -> dict[str, ReceivedSpan]:
        return {span.service: span for span in traced.receiver.of_trace(trace_id) if span.kind == "SERVER"}

    await until(lambda: {"gateway", "store"} <= served().keys(), what="both")
    spans = traced.receiver.of_trace(trace_id)
    assert served()["store"].parent_id == served()["gateway"].span_id
    assert any(span.parent_id == served()["store"].span_id and "db.system.name" in span.attributes for span in spans)


@pytest.mark.parametrize("service", ["gateway", "store", "fetcher"])
async def test_a_stopped_process_exports_its_last_spans_and_ends_with_zero(
    traced: Traced, website: Origin, service: str
) -> None:
    name, driver = f"last-{service}", traced.driver
    traced.more.start(service, name, changes=ONLY_AT_THE_END)
    await asyncio.to_thread(traced.more.wait_until_ready)
    replica = traced.more.replicas[name]
    key = {"Authorization": f"Bearer {driver.system.api_key}"}
    async with httpx2.AsyncClient(timeout=15, trust_env=False) as client:
        for number in range(REPLICA_FETCHES):
            if replica.public_url is not None:
                await client.get(f"{replica.public_url}/v1/fetches?limit=1", headers=key)
            else:
                await driver.fetch(f"{website.url}/page/{name}-{number}")
    assert await asyncio.to_thread(_end, traced, name) == 0, traced.more.log(name)
    del traced.more.replicas[name]
    last = [span for span in traced.receiver.spans if span.resource["service.instance.id"] == name]
    assert last, "nothing left before its end, so all that came came then"


@pytest.mark.parametrize("receiver", [silent_receiver, absent_receiver])
async def test_a_receiver_that_is_away_or_hangs_harms_nothing(
    traced: Traced, website: Origin, receiver: Callable[[], AbstractContextManager[str]]
) -> None:
    name = receiver.__name__
    with receiver() as url:
        traced.more.start("gateway", name, changes={"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"})
        await asyncio.to_thread(traced.more.wait_until_ready)
        key = {"Authorization": f"Bearer {traced.driver.system.api_key}"}
        async with httpx2.AsyncClient(base_url=traced.more.replicas[name].public_url or "", timeout=5, trust_env=False) as client:
            for number in range(REPLICA_FETCHES):
                answer = await client.post("/v1/fetches", json={"url": f"{website.url}/page/{name}-{number}"}, headers=key)
                assert answer.status_code == 202
        begun = monotonic()
        assert await asyncio.to_thread(_end, traced, name) == 0, traced.more.log(name)
        assert monotonic() - begun < END_SECONDS
        del traced.more.replicas[name]


def _end(traced: Traced, name: str) -> int:
    traced.more.terminate(name)
    return traced.more.exit_code(name)


def test_without_a_receiver_there_is_no_step_and_nothing_is_described() -> None:
    assert not telemetry.is_exporting()
    with telemetry.step("never", kind=SpanKind.INTERNAL, describe=lambda: pytest.fail("described")) as span:
        assert not span.is_recording() and telemetry.current_traceparent() is None
