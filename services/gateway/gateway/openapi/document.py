"""Make the OpenAPI document: what FastAPI knows of the routes, and what is answered on behalf of each of them.

Needs no server and no settings, so that the committed document is made from the application that is served.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.chassis.build import VERSION
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.openapi.about import CONTACT, DESCRIPTION, LICENSE, OPENAPI_VERSION, SERVERS, TAGS, TITLE
from gateway.openapi.firecrawl import PREFIX as FIRECRAWL_PREFIX
from gateway.openapi.firecrawl import refusal_responses
from gateway.openapi.headers import HEADERS, ResponseHeader, references
from gateway.openapi.responses import problem_responses, problem_types_of
from gateway.problems.documents import ProblemDocument, example_of
from gateway.problems.types import REGISTRY, ProblemType

Members = dict[str, Any]

FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""What FastAPI would answer to an invalid request. We answer with a problem."""
SCHEMAS = "#/components/schemas/{model}"
SAFE_METHODS = frozenset({"get", "head"})
KEY_PROBLEMS = (
    ProblemType.IDEMPOTENCY_KEY_MALFORMED, ProblemType.IDEMPOTENCY_KEY_REUSED, ProblemType.IDEMPOTENCY_KEY_IN_FLIGHT
)
NEVER_REPLAYED = frozenset({"401", "408", "413", "429"})
"""Statuses of refusals that are about one try alone."""
IDEMPOTENCY_KEY: Members = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name of the caller's for this request, new for each new one. However often it comes under that name, it is "
    "done once, and the first answer is given again. At most 255 printable ASCII characters, quoted or not.",
    "schema": {"type": "string", "pattern": r'^(?:[!#-+.-:<-~-]{1,255}|"(?:[ !#-\[\]-~]|\\["\\]){1,255}")$'},
    "example": '"order-4711-try"',
}


def openapi_document(app: FastAPI) -> Members:
    """The document of the application's routes, ready for JSON. The same routes give the same document."""
    document = get_openapi(
        title=TITLE,
        version=VERSION,
        openapi_version=OPENAPI_VERSION,
        description=DESCRIPTION,
        routes=app.routes,
        servers=SERVERS,
        contact=CONTACT,
        license_info=LICENSE,
    )
    for path, method, operation in operations_of(document):
        _tell_scopes(operation)
        added = [*_added(operation), *_added_with_a_key(operation, method)]
        operation["responses"] = _responses(operation, added, are_problems=not path.startswith(FIRECRAWL_PREFIX))
        if _may_be_sent_again(operation, method):
            _tell_idempotency(operation)
    operations = [operation for _, _, operation in operations_of(document)]
    used = {tag for operation in operations for tag in operation.get("tags", [])}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    _complete(document.setdefault("components", {}), operations)
    return document


def operations_of(document: Members) -> Iterator[tuple[str, str, Members]]:
    """Every operation of a document, with its path and its method in lower case."""
    for path, methods in document["paths"].items():
        yield from ((path, method, operation) for method, operation in methods.items())


def _tell_scopes(operation: Members) -> None:
    """Linters take scopes for a thing of OAuth 2 alone, so that they are told in words and as `x-scopes`."""
    scopes = {scope for requirement in operation.get("security", []) for scopes in requirement.values() for scope in scopes}
    if scopes:
        operation["security"] = [{name: [] for name in requirement} for requirement in operation["security"]]
        operation["x-scopes"] = sorted(scopes)
        needs = f"Needs a key with the scope `{'` and `'.join(sorted(scopes))}`."
        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), needs)))


def _responses(operation: Members, added: Iterable[ProblemType], *, are_problems: bool) -> Members:
    """What the route says, and every refusal that is answered on its behalf: a problem, or what Firecrawl has in its place."""
    declared = {status: response for status, response in operation["responses"].items() if not _is_of_framework(response)}
    types = {type for response in declared.values() for type in problem_types_of(response)} | set(added)
    responses = {status: response for status, response in declared.items() if are_problems or not problem_types_of(response)}
    for status, response in (problem_responses if are_problems else refusal_responses)(*types).items():
        responses[str(status)] = _merged(responses.get(str(status), {}), response)
    if "security" in operation:
        for status, response in responses.items():
            if status != "401":
                limits = references(ResponseHeader.RATE_LIMIT, ResponseHeader.RATE_LIMIT_POLICY)
                response["headers"] = response.get("headers", {}) | limits
    return {status: responses[status] for status in sorted(responses)}


def _added(operation: Members) -> Iterator[ProblemType]:
    """What middleware, parameters and handlers answer before or instead of the route."""
    parameters = operation.get("parameters", [])
    if "requestBody" in operation:
        yield from (ProblemType.MALFORMED_JSON, ProblemType.UNSUPPORTED_MEDIA_TYPE, ProblemType.BODY_TOO_LARGE)
    if "requestBody" in operation or any(_may_be_invalid(parameter) for parameter in parameters):
        yield ProblemType.INVALID_REQUEST
    if any(parameter["in"] == "path" for parameter in parameters):
        yield ProblemType.NOT_FOUND
    yield from (ProblemType.INTERNAL, ProblemType.OVERLOADED, ProblemType.STOPPING)


def _added_with_a_key(operation: Members, method: str) -> Iterator[ProblemType]:
    """What is answered instead of a route that needs a key: the key may be unknown, refused, or used up."""
    if "security" not in operation:
        return
    yield from (ProblemType.UNAUTHENTICATED, ProblemType.QUOTA_EXCEEDED, ProblemType.STORE_UNAVAILABLE)
    if operation.get("x-scopes"):
        yield ProblemType.INSUFFICIENT_SCOPE
    if method not in SAFE_METHODS:
        yield ProblemType.EVENTS_UNAVAILABLE
    if _may_be_sent_again(operation, method):
        yield from KEY_PROBLEMS


def _may_be_sent_again(operation: Members, method: str) -> bool:
    """Whether an Idempotency-Key is heard."""
    return method == "post" and "security" in operation


def _tell_idempotency(operation: Members) -> None:
    operation.setdefault("parameters", []).append(dict(IDEMPOTENCY_KEY))
    for status, response in operation["responses"].items():
        if status < "500" and status not in NEVER_REPLAYED:
            response["headers"] = response.get("headers", {}) | references(ResponseHeader.IDEMPOTENCY_REPLAYED)


def _may_be_invalid(parameter: Members) -> bool:
    """Whether a value can break the parameter's schema. In a path that is a 404; any text is good where any text is allowed."""
    forms = parameter["schema"].get("anyOf", [parameter["schema"]])
    is_any_text = all(set(form) <= {"type", "title"} and form.get("type") in ("string", "null") for form in forms)
    return parameter["in"] != "path" and (parameter.get("required", False) or not is_any_text)


def _merged(declared: Members, response: Members) -> Members:
    """One response of a route that also declared other content or headers for its status."""
    is_ours = not declared or problem_types_of(declared)
    content = declared.get("content", {})
    return declared | {
        "description": response["description"] if is_ours else f"{declared['description']}\n\n{response['description']}",
        "content": content | {name: _with_examples(content.get(name, {}), each) for name, each in response["content"].items()},
        "headers": declared.get("headers", {}) | response.get("headers", {}),
    }


def _with_examples(declared: Members, given: Members) -> Members:
    """One media type with the examples of both."""
    return declared | given | {"examples": declared.get("examples", {}) | given["examples"]}


def _is_of_framework(response: Members) -> bool:
    schemas = [media_type.get("schema", {}) for media_type in response.get("content", {}).values()]
    return any(schema.get("$ref") == SCHEMAS.format(model=FRAMEWORK_SCHEMAS[0]) for schema in schemas)


def _complete(components: Members, operations: list[Members]) -> None:
    """Put in what responses refer to, and only that; take out what the framework's own responses referred to."""
    schemas = components.setdefault("schemas", {})
    for name in FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    model = ProblemDocument.model_json_schema(ref_template=SCHEMAS)
    schemas |= model.pop("$defs") | {model["title"]: model}
    components["schemas"] = dict(sorted(schemas.items()))
    responses = [response for operation in operations for response in operation["responses"].values()]
    types = {type for response in responses for type in problem_types_of(response)}
    components["examples"] = {type.value: _example(type) for type in ProblemType if type in types}
    headers = {name for response in responses for name in response.get("headers", {})}
    components["headers"] = {header.value: dict(HEADERS[header]) for header in ResponseHeader if header in headers}


def _example(type: ProblemType) -> Mapping[str, Any]:
    return {"summary": REGISTRY[type].title, "value": example_of(type)}
