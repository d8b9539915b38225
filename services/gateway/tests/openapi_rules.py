"""What must hold for every operation of the OpenAPI document. Each rule returns what is wrong, in words.

Kept apart from the tests so that each rule can be shown a document that breaks it.
"""

from collections.abc import Callable, Iterator
from typing import Any

Document = dict[str, Any]
Rule = Callable[[Document], list[str]]
Operation = tuple[str, dict[str, Any]]

PROBLEM = {"$ref": "#/components/schemas/Problem"}
PROBLEM_TYPE = "application/problem+json"
OPEN_TAGS = {"health", "problems"}
"""What anyone may ask for without a key."""
ANY_SCOPE = {"getCallingKey"}
"""What a key may do whatever its scopes are."""
FIRECRAWL = "/v2/"
"""What is under this path has Firecrawl's form of refusals, with Firecrawl's statuses, in place of problems."""
FIRECRAWL_REFUSAL = {"$ref": "#/components/schemas/FirecrawlRefusal"}
SAFE_METHODS = ("GET", "HEAD")
UNSAID = {"Successful Response", "Validation Error", ""}


def operations(document: Document) -> list[Operation]:
    """Every operation with its method and path as its name."""
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(document: Document, given: Any) -> Any:
    """What a reference leads to; anything else as it is."""
    while isinstance(given, dict) and "$ref" in given:
        target: Any = document
        for part in given["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        given = target
    return given


def operations_have_names(document: Document) -> list[str]:
    """An id of their own, a summary and a description."""
    ids = [operation.get("operationId") for _, operation in operations(document)]
    wrong = [f"{id} is the id of several operations" for id in set(ids) if ids.count(id) > 1]
    for name, each in operations(document):
        wrong += [f"{name} has no {member}" for member in ("operationId", "summary", "description") if not each.get(member)]
    return wrong


def operations_have_one_tag(document: Document) -> list[str]:
    """Exactly one, and the document describes it."""
    described = {tag["name"] for tag in document["tags"] if tag.get("description")}
    return [
        f"{name} has the tags {each.get('tags')}"
        for name, each in operations(document)
        if len(each.get("tags", [])) != 1 or not set(each["tags"]) <= described
    ]


def operations_need_a_key_and_a_scope(document: Document) -> list[str]:
    """All but those that are for anyone."""
    return [
        f"{name} needs no key, or no scope"
        for name, each in operations(document)
        if not (each.get("security") and (each.get("x-scopes") or each.get("operationId") in ANY_SCOPE))
        and OPEN_TAGS.isdisjoint(each.get("tags", []))
    ]


def parameters_are_described(document: Document) -> list[str]:
    """Each says what it is for."""
    return [
        f"{name} does not describe {parameter['name']}"
        for name, each in operations(document)
        for parameter in each.get("parameters", [])
        if not parameter.get("description")
    ]


def bodies_have_examples(document: Document) -> list[str]:
    """Whatever can be sent is shown, in each media type that is taken."""
    return [
        f"{name} has no example of {media_type}"
        for name, each in operations(document)
        for media_type, content in each.get("requestBody", {}).get("content", {}).items()
        if not _has_example(document, content)
    ]


def answers_are_described(document: Document) -> list[str]:
    """Each answer says when it comes, at least one is no refusal, and JSON has a schema and an example."""
    wrong = []
    for name, each in operations(document):
        good = {status: response for status, response in each["responses"].items() if status < "400"}
        wrong += [] if good else [f"{name} never succeeds"]
        wrong += [f"{name} does not describe {status}" for status, response in good.items() if response["description"] in UNSAID]
        wrong += [
            f"{name} has no schema or no example of {status} as {media_type}"
            for status, response in good.items()
            for media_type, content in response.get("content", {}).items()
            if media_type.endswith("json") and not (content.get("schema") and _has_example(document, content))
        ]
    return wrong


def refusals_are_problems(document: Document) -> list[str]:
    """Each refusal is a problem document, with an example that has its status; or in Firecrawl's form, which has no status."""
    wrong = []
    for name, status, response in _refusals(document):
        if _is_firecrawl(name):
            (media_type, content), *others = response.get("content", {"": {}}).items()
            is_told = media_type == "application/json" and content.get("schema") == FIRECRAWL_REFUSAL and content.get("examples")
            wrong += [] if is_told and not others else [f"{name} answers {status} in another form than Firecrawl's"]
            continue
        content = response.get("content", {}).get(PROBLEM_TYPE, {})
        examples = [resolved(document, example).get("value", {}) for example in content.get("examples", {}).values()]
        if content.get("schema") != PROBLEM or not examples:
            wrong.append(f"{name} answers {status} without a problem or its example")
        wrong += [f"{name} has a wrong example of {status}" for example in examples if str(example.get("status")) != status]
    return wrong


def refusals_are_complete(document: Document) -> list[str]:
    """Whatever applies to the operation is among its answers."""
    wrong = []
    for name, each in operations(document):
        needed = {"500", "503"}
        needed |= {"401", "429"} if each.get("security") else set()
        needed |= {"403"} if each.get("x-scopes") else set()
        needed |= {"400", "413", "415", "422"} if "requestBody" in each else set()
        needed |= {"404"} if any(parameter["in"] == "path" for parameter in each.get("parameters", [])) else set()
        needed |= {"422"} if any(_is_bounded(parameter) for parameter in each.get("parameters", [])) else set()
        needed -= {"422"} if _is_firecrawl(name) else set()
        wrong += [f"{name} does not document {status}" for status in sorted(needed - set(each["responses"]))]
    return wrong


def dependencies_may_be_away(document: Document) -> list[str]:
    """Whatever needs a key needs the ledger that knows keys, and what changes something the events Redis that counts it."""
    wrong = []
    for name, each in operations(document):
        needed = {"store-unavailable"} if each.get("security") else set()
        needed |= {"events-unavailable"} if each.get("security") and not name.startswith(SAFE_METHODS) else set()
        wrong += [f"{name} does not say {problem}" for problem in sorted(needed - set(_refusal_names(each, "503")))]
    return wrong


def headers_are_documented(document: Document) -> list[str]:
    """Where to go, when to come back, how to authenticate, and what is left of the quota."""
    wrong = []
    for name, each in operations(document):
        for status, response in each["responses"].items():
            needed = {"RateLimit", "RateLimit-Policy"} if each.get("security") and status != "401" else set()
            needed |= {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}, "503": {"Retry-After"}}.get(status, set())
            needed |= {"201": {"Location"}, "202": {"Location"}}.get(status, set())
            needed |= {"Idempotency-Replayed"} if name.startswith("POST") and each.get("security") and status < "300" else set()
            needed |= {"Link"} if status == "200" and _is_list(document, response) else set()
            headers = response.get("headers", {})
            wrong += [f"{name} does not document {header} of {status}" for header in sorted(needed - set(headers))]
            wrong += [f"{name}: {header} has no description" for header in headers if not _describes(document, headers[header])]
    return wrong


def posts_may_be_sent_again(document: Document) -> list[str]:
    """Whatever is posted with a key may be named by an Idempotency-Key, and need not be."""
    wrong = []
    for name, each in operations(document):
        named = [parameter for parameter in each.get("parameters", []) if parameter["name"] == "Idempotency-Key"]
        is_right = [parameter["required"] for parameter in named] == ([False] if name.startswith("POST") else [])
        wrong += [] if is_right or not each.get("security") else [f"{name} is wrong about Idempotency-Key"]
    return wrong


def nothing_is_of_the_framework(document: Document) -> list[str]:
    """We have problems in place of FastAPI's own error documents."""
    return [f"{name} is FastAPI's" for name in document["components"]["schemas"] if "ValidationError" in name]


RULES: tuple[Rule, ...] = (
    operations_have_names, operations_have_one_tag, operations_need_a_key_and_a_scope, parameters_are_described,
    bodies_have_examples, answers_are_described, refusals_are_problems, refusals_are_complete, dependencies_may_be_away,
    headers_are_documented, posts_may_be_sent_again, nothing_is_of_the_framework,
)  # fmt: skip


def _refusals(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, each in operations(document):
        yield from ((name, status, response) for status, response in each["responses"].items() if status >= "400")


def _is_firecrawl(name: str) -> bool:
    return name.partition(" ")[2].startswith(FIRECRAWL)


def _refusal_names(operation: dict[str, Any], status: str) -> list[str]:
    content = operation["responses"].get(status, {}).get("content", {})
    return [name for media_type in content.values() for name in media_type.get("examples", {})]


def _is_bounded(parameter: dict[str, Any]) -> bool:
    """Whether there are values that the parameter does not take."""
    return parameter["in"] == "query" and parameter["schema"].get("type") in ("integer", "number", "boolean")


def _is_list(document: Document, response: dict[str, Any]) -> bool:
    """Whether the answer is a page of a list that has a last one; the feed has none."""
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    cursor = resolved(document, schema).get("properties", {}).get("next_cursor", {})
    return {"type": "null"} in cursor.get("anyOf", [])


def _has_example(document: Document, content: dict[str, Any]) -> bool:
    schema = resolved(document, content.get("schema", {}))
    return any(member in content for member in ("example", "examples")) or bool(schema.get("examples"))


def _describes(document: Document, header: Any) -> bool:
    return bool(resolved(document, header).get("description"))
