"""The OpenAPI document: valid, complete by the rules of the house, the same everywhere, and true of real answers."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openapi_rules as rules
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from openapi_rules import Document, Rule, resolved
from openapi_schema_validator import OAS32Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.app import create_api
from gateway.idempotency.keys import read_key
from gateway.openapi.document import openapi_document
from gateway.openapi.responses import problem_responses, response
from gateway.problems.types import ProblemType

Break = Callable[[Document], Any]
SUBMIT, LIST, SCRAPE = ("/v1/fetches", "post"), ("/v1/hosts", "get"), ("/v2/scrape", "post")
REPLAYED = "Idempotency-Replayed"
ADDRESS = "urn:document"


@pytest.fixture(scope="module")
def document() -> Document:
    """The document of the whole application."""
    return openapi_document(create_api())


def test_it_is_valid(document: Document) -> None:
    validate(document)


@pytest.mark.parametrize("rule", rules.RULES)
def test_rules_of_the_house(document: Document, rule: Rule) -> None:
    assert rule(document) == []


def _operation(document: Document, at: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][at[0]][at[1]]
    return found


def _problem_examples(document: Document, at: tuple[str, str], status: str) -> dict[str, Any]:
    found: dict[str, Any] = _operation(document, at)["responses"][status]["content"]["application/problem+json"]["examples"]
    return found


BREAKS: list[tuple[Rule, Break]] = [
    (rules.operations_have_names, lambda document: _operation(document, SUBMIT).pop("operationId")),
    (rules.operations_have_names, lambda document: _operation(document, SUBMIT).update(operationId="listHosts")),
    (rules.operations_have_one_tag, lambda document: _operation(document, SUBMIT)["tags"].append("hosts")),
    (rules.operations_have_one_tag, lambda document: document["tags"].clear()),
    (rules.operations_need_a_key_and_a_scope, lambda document: _operation(document, SUBMIT).pop("security")),
    (rules.operations_need_a_key_and_a_scope, lambda document: _operation(document, SUBMIT).pop("x-scopes")),
    (rules.parameters_are_described, lambda document: _operation(document, LIST)["parameters"][0].pop("description")),
    (rules.bodies_have_examples, lambda document: document["components"]["schemas"]["FetchSubmission"].pop("examples")),
    (rules.answers_are_described, lambda document: _operation(document, LIST)["responses"].pop("200")),
    (rules.answers_are_described, lambda document: document["components"]["schemas"]["FetchDocument"].pop("examples")),
    (rules.refusals_are_problems, lambda document: _operation(document, SUBMIT)["responses"]["401"].pop("content")),
    (rules.refusals_are_problems, lambda document: document["components"]["examples"]["overloaded"]["value"].update(status=500)),
    (rules.refusals_are_complete, lambda document: _operation(document, SUBMIT)["responses"].pop("429")),
    (rules.refusals_are_complete, lambda document: _operation(document, LIST)["responses"].pop("422")),
    (rules.headers_are_documented, lambda document: _operation(document, SUBMIT)["responses"]["202"]["headers"].pop("Location")),
    (rules.headers_are_documented, lambda document: _operation(document, LIST)["responses"]["200"]["headers"].pop("Link")),
    (rules.headers_are_documented, lambda document: document["components"]["headers"]["RateLimit"].pop("description")),
    (rules.dependencies_may_be_away, lambda document: _problem_examples(document, SUBMIT, "503").pop("events-unavailable")),
    (rules.dependencies_may_be_away, lambda document: _problem_examples(document, LIST, "503").pop("store-unavailable")),
    (rules.refusals_are_problems, lambda document: _operation(document, SCRAPE)["responses"]["401"].pop("content")),
    (rules.refusals_are_problems, lambda document: _operation(document, SCRAPE)["responses"]["401"]["content"].update(x={})),
    (rules.headers_are_documented, lambda document: _operation(document, SUBMIT)["responses"]["202"]["headers"].pop(REPLAYED)),
    (rules.posts_may_be_sent_again, lambda document: _operation(document, SUBMIT)["parameters"].pop()),
    (rules.posts_may_be_sent_again, lambda document: _operation(document, SUBMIT)["parameters"][-1].update(required=True)),
    (rules.nothing_is_of_the_framework, lambda document: document["components"]["schemas"].update(HTTPValidationError={})),
]  # fmt: skip


def test_every_rule_is_shown_something_that_breaks_it() -> None:
    assert {rule for rule, _ in BREAKS} == set(rules.RULES)


@pytest.mark.parametrize(("rule", "break_it"), BREAKS)
def test_rules_notice(document: Document, rule: Rule, break_it: Break) -> None:
    broken = copy.deepcopy(document)
    break_it(broken)
    assert rule(broken) != []


def test_a_route_that_says_nothing_of_itself_is_noticed() -> None:
    app, router = FastAPI(), APIRouter()

    @router.get("/v1/bare/{name}")
    async def get_bare(name: str, limit: int = 5) -> dict[str, str]:
        return {}

    app.include_router(router)
    document = openapi_document(app)
    silent = {rule for rule in rules.RULES if rule(document)}
    assert silent >= {
        rules.operations_have_names, rules.operations_have_one_tag, rules.operations_need_a_key_and_a_scope,
        rules.parameters_are_described, rules.answers_are_described,
    }  # fmt: skip
    answers = document["paths"]["/v1/bare/{name}"]["get"]["responses"]
    assert set(answers) == {"200", "404", "422", "500", "503"}, "what is answered on its behalf is there all the same"


def test_a_route_that_lists_a_problem_of_a_status_keeps_those_of_others() -> None:
    app = FastAPI()
    said = response(503, "Not ready.", content={"text/plain": {}}) | problem_responses(ProblemType.NO_CONTENT)

    @app.get("/both/{name}", responses=said)
    async def get_both(name: str) -> None:
        """Both."""

    answers = openapi_document(app)["paths"]["/both/{name}"]["get"]["responses"]
    assert set(answers["404"]["content"]["application/problem+json"]["examples"]) == {"not-found", "no-content"}
    assert set(answers["503"]["content"]) == {"text/plain", "application/problem+json"}
    assert answers["503"]["description"].startswith("Not ready.")


def test_streams_are_described_by_their_items() -> None:
    app = FastAPI()

    @app.get("/stream", response_class=EventSourceResponse)
    async def get_stream() -> Iterator[ServerSentEvent]:
        """A stream."""
        yield ServerSentEvent(data="x")

    document = openapi_document(app)
    assert "itemSchema" in document["paths"]["/stream"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    assert document["openapi"] == "3.2.0"
    validate(document)


@pytest.mark.parametrize("key", [
    "a", "8e03978e-40d5-43e8-bc93-6894a57f9324", "a.b/c:d<e", '"a b, c; d"', r'"a\"b\\"', "x" * 255, f'"{"x" * 255}"',
    "", '""', "a b", "a,b", "a;b", '"a', "ü", "x" * 256, f'"{"x" * 256}"', r'"a\b"',
])  # fmt: skip
def test_idempotency_keys_are_as_documented(document: Document, key: str) -> None:
    (parameter,) = [each for each in _operation(document, SUBMIT)["parameters"] if each["name"] == "Idempotency-Key"]
    assert (re.search(parameter["schema"]["pattern"], key) is not None) == (read_key([key.encode()]) is not None)


def test_the_same_code_gives_the_same_document(repository: Path) -> None:
    script = "import json\nfrom gateway.app import create_api\nfrom gateway.openapi.document import openapi_document\n"
    script += "print(json.dumps(openapi_document(create_api()), indent=2, ensure_ascii=False))"
    committed = (repository / "services/gateway/openapi.json").read_text(encoding="utf-8")
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        made = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True, timeout=60)
        assert made.stdout.decode() == committed


async def test_what_is_served_is_what_is_committed(gateway: Any, repository: Path) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        answer = await stranger.get("/openapi.json")
    assert answer.json() == json.loads((repository / "services/gateway/openapi.json").read_text(encoding="utf-8"))


def _schema_errors(document: Document, schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value differs from a schema of the document."""
    resource: Resource[Any] = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(ADDRESS, resource)
    inside = json.loads(json.dumps(schema).replace('"#/', f'"{ADDRESS}#/'))
    return [error.message for error in OAS32Validator(inside, registry=registry).iter_errors(value)]


def _examples(document: Document, node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema with an example of it: of media types, headers, parameters and schemas themselves."""
    if isinstance(node, list):
        for each in node:
            yield from _examples(document, each)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("schema"), dict):
        yield from ((node["schema"], example) for example in ([node["example"]] if "example" in node else []))
        named = node.get("examples", {})
        yield from ((node["schema"], resolved(document, example)["value"]) for example in named.values())
    if isinstance(node.get("examples"), list) and "properties" in node:
        yield from (({key: node[key] for key in node if key != "examples"}, example) for example in node["examples"])
    for key, each in node.items():
        if key not in ("example", "examples"):
            yield from _examples(document, each)


def test_every_example_fits_its_schema(document: Document) -> None:
    found = list(_examples(document, {"paths": document["paths"], "components": document["components"]}))
    assert len(found) > 50
    assert [(errors, example) for schema, example in found if (errors := _schema_errors(document, schema, example))] == []


async def test_real_answers_are_as_documented(client: httpx2.AsyncClient, gateway: Any, document: Document) -> None:
    submitted = await client.post("/v1/fetches", json={"url": "http://a.test/", "labels": ["x"]})
    answers = [
        (SUBMIT, submitted),
        (SUBMIT, await client.post("/v1/fetches", json={})),
        (("/v1/fetches/{fetch_id}", "get"), await client.get(submitted.headers["location"])),
        (("/v1/fetches/{fetch_id}", "get"), await client.get("/v1/fetches/no-id")),
        (LIST, await client.get("/v1/hosts")),
        (("/v1/hosts/{host}", "patch"), await client.patch("/v1/hosts/a.test", json={"state": "paused"})),
        (("/problems/{slug}", "get"), await client.get("/problems/internal")),
        (("/problems", "get"), await client.get("/problems")),
    ]
    for at, answer in answers:
        documented = _operation(document, at)["responses"][str(answer.status_code)]
        content = documented["content"][answer.headers["content-type"].partition(";")[0]]
        assert _schema_errors(document, content["schema"], answer.json()) == [], at
