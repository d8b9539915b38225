"""Logs, metrics and traces of a running system: nothing secret in any, every line JSON, one line for each request and attempt."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from fetchwork_local.environments import service_environments
from fetchwork_local.state import StackState, recall
from origin import Origin
from traced_system import Traced, until

SERVICES = ("gateway", "fetcher", "store")
FIELDS = frozenset({"timestamp", "level", "event", "service", "version", "instance"})
CALLER_SPAN_ID = "00f067aa0ba902b7"
LINES_SECONDS = 10
REQUESTS = 12
NO_RETRY = {"max": 0}
WRONG = {
    "gateway": "FETCHWORK_EVENTS_URL",
    "fetcher": "FETCHWORK_BROKER_URL",
    "store": "FETCHWORK_DATABASE_URL",
}
"""Which of a service's addresses has a wrong password."""


@dataclass(slots=True)
class Planted:
    """Secrets by where each was put, so that a leak names its source."""

    by_place: dict[str, str]

    def at(self, place: str) -> str:
        """A new secret, remembered."""
        self.by_place[place] = f"planted{token_hex(12)}"
        return self.by_place[place]


def _state(traced: Traced) -> StackState:
    state = recall(traced.stack.home)
    assert state is not None
    return state


def _entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


async def _fetch_secretly(traced: Traced, website: Origin, planted: Planted) -> list[str]:
    """Fetches that carry secrets wherever a fetch can, to origins that answer, redirect, fail and are not there."""
    ids = []
    for name, base, path in (
        ("page", website.url, "/page/secret"),
        ("redirect", website.url, "/redirect"),
        ("loop", website.url, "/loop"),
        ("cut", website.url, "/cut"),
        ("nobody", f"http://{website.host}:1", "/nobody"),
    ):
        query = f"to=/page/there%3Fk={planted.at(f'{name}: redirect')}&token={planted.at(f'{name}: query')}"
        path_of_it = await traced.driver.submit(
            f"{base}{path}?{query}",
            method="POST" if name == "page" else "GET",
            headers={
                "Authorization": f"Bearer {planted.at(f'{name}: authorization')}",
                "Cookie": f"session={planted.at(f'{name}: cookie')}",
                "X-Api-Key": planted.at(f"{name}: header"),
            },
            **({"body": planted.at("body")} if name == "page" else {}),
            retries=NO_RETRY,
        )
        ids.append((await traced.driver.finish(path_of_it))["id"])
    return ids


async def _ask_wrongly(traced: Traced, website: Origin, planted: Planted) -> None:
    """Requests that the gateway refuses, with secrets where they do not belong."""
    client, wrong = traced.driver.client, planted.at
    with_password = {"url": f"{website.url}/x".replace("://", f"://user:{wrong('URL credentials')}@")}
    assert (await client.post("/v1/fetches", json=with_password)).status_code in (400, 422)
    unreadable = f'{{"url": "{wrong("malformed JSON")}'
    assert (await client.post("/v1/fetches", content=unreadable)).status_code in (400, 415, 422)
    unknown = {"Authorization": f"Bearer {wrong('unknown key')}"}
    assert (await client.get("/v1/fetches", headers=unknown)).status_code == 401
    assert (await client.get(f"/v1/{wrong('path')}/{quote(with_password['url'], safe='')}")).status_code == 404
    await client.get("/v1/fetches", params={"label": wrong("label"), "api_key": wrong("query of ours")})
    await client.get("/v1/events", params={"ticket": wrong("ticket")}, headers={"Authorization": ""})
    await client.request(wrong("method").upper(), "/v1/fetches")


async def _use_a_new_key(traced: Traced, planted: Planted) -> None:
    """A key that is made, used, and typed where it does not belong."""
    made = await traced.driver.client.post("/v1/keys", json={"name": "secrets", "scopes": ["fetch:read"]})
    assert made.status_code == 201, made.text
    key = planted.by_place["new key"] = next(value for value in made.json().values() if str(value).startswith("ftch_"))
    async with httpx2.AsyncClient(base_url=traced.driver.system.gateway_url, timeout=15, trust_env=False) as client:
        await client.get(f"/v1/fetches/{key}?key={key}", headers={"Authorization": f"Bearer {key}"})


async def _break_things(traced: Traced, website: Origin, planted: Planted) -> list[str]:
    """Each service with a wrong password, and the store away; the logs of what failed."""
    environments = service_environments(_state(traced), caller={})
    logs = []
    for service, variable in WRONG.items():
        name, address = f"wrong-{service}", environments[service][variable]
        scheme, _, rest = address.partition("://")
        user = rest.partition(":")[0]
        wrong = f"{scheme}://{user}:{planted.at(f'password of {variable}')}@{rest.rpartition('@')[2]}"
        traced.more.start(service, name, changes={variable: wrong})
        process = traced.more.replicas[name].process
        await until(
            lambda name=name, process=process: traced.more.whole_log(name).count("\n") > 2 or process.poll() is not None,
            what=f"words of {name}",
        )
        if process.poll() is None:
            await asyncio.to_thread(traced.more.terminate, name)
        del traced.more.replicas[name]
        logs.append(traced.more.whole_log(name))
    await traced.driver.system.kill("store")
    away = await traced.driver.client.get("/v1/fetches", params={"label": planted.at("label while the store is away")})
    assert away.status_code in (200, 503)
    await traced.driver.fetch(f"{website.url}/page/store-is-back")
    return logs


async def test_no_secret_is_in_any_log_metric_or_trace(traced: Traced, website: Origin) -> None:
    planted = Planted({})
    ids = await _fetch_secretly(traced, website, planted)
    await _ask_wrongly(traced, website, planted)
    await _use_a_new_key(traced, planted)
    logs_of_failures = await _break_things(traced, website, planted)
    await until(lambda: all(traced.receiver.of_fetch(one, "fetch.record") for one in ids), what="their spans")

    planted.by_place |= {f"our {name}": value for name, value in _state(traced).secrets.model_dump().items()}
    told = {f"log of {path.stem}": path.read_text(errors="replace") for path in traced.stack.home.logs.iterdir()}
    told |= {f"failure {number}": text for number, text in enumerate(logs_of_failures)}
    told |= {f"metrics of {service}": "".join(await traced.driver.system.metrics(service)) for service in SERVICES}
    told["traces"] = b"".join(traced.receiver.raw).decode("latin-1")
    assert all(one in told["log of fetcher"] and one in told["traces"] for one in ids), "this is where they would be"
    secrets = planted.by_place.items()
    leaks = {(place, where) for place, secret in secrets for where, text in told.items() if secret.lower() in text.lower()}
    assert leaks == set()
    for text in logs_of_failures:
        assert _entries(text), "what fails says so, in JSON"


@pytest.mark.parametrize("service", SERVICES)
async def test_every_line_is_json_and_says_who_wrote_it(traced: Traced, website: Origin, service: str) -> None:
    await traced.driver.fetch(f"{website.url}/page/{service}")
    entries = _entries(await traced.driver.system.log(service))
    assert entries
    for entry in entries:
        assert entry.keys() >= FIELDS and entry["service"] == service, entry
        if "trace_id" in entry:
            assert len(entry["trace_id"]) == 32 and len(entry["span_id"]) == 16 and len(entry["trace_flags"]) == 2


async def test_each_request_has_one_line_with_its_trace(traced: Traced) -> None:
    trace_ids = [token_hex(16) for _ in range(REQUESTS)]
    for number, trace_id in enumerate(trace_ids):
        headers = {"traceparent": f"00-{trace_id}-{CALLER_SPAN_ID}-01"}
        await traced.driver.client.get("/v1/fetches" if number % 2 else "/v1/nothing", headers=headers)
    async with asyncio.timeout(LINES_SECONDS):  # a line is written when its answer has left
        while trace_ids[-1] not in await traced.driver.system.log("gateway"):
            await asyncio.sleep(0.05)
    entries = _entries(await traced.driver.system.log("gateway"))
    lines = Counter(entry.get("trace_id") for entry in entries if entry["event"] == "request finished")
    assert [lines[trace_id] for trace_id in trace_ids] == [1] * REQUESTS


async def test_each_attempt_has_one_line_with_the_trace_of_its_fetch(traced: Traced, website: Origin) -> None:
    trace_id = token_hex(16)
    answer = await traced.driver.client.post(
        "/v1/fetches",
        json={"url": f"{website.url}/flapping/2/logged", "retries": {"max": 3, "backoff_seconds": 0.05}},
        headers={"traceparent": f"00-{trace_id}-{CALLER_SPAN_ID}-01"},
    )
    document = await traced.driver.finish(answer.headers["location"])
    assert len(document["attempts"]) == 3
    entries = _entries(await traced.driver.system.log("fetcher"))
    lines = [one for one in entries if one["event"] == "attempt finished" and one["fetch_id"] == document["id"]]
    assert len({one["dispatch_seq"] for one in lines}) == len(lines) == 3
    assert {one["trace_id"] for one in lines} == {trace_id}
