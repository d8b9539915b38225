"""Make the OpenAPI document: what FastAPI knows of the routes, and what is answered on behalf of each of them.

Needs no server and no settings, so that the committed document is made from the application that is served.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from common.chassis.build import VERSION
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.openapi.about import CONTACT, DESCRIPTION, LICENSE, OPENAPI_VERSION, SERVERS, TAGS, TITLE
from gateway.openapi.headers import HEADERS, ResponseHeader, references
from gateway.openapi.responses import problem_responses, problem_types_of
from gateway.problem_documents import ProblemDocument, example_of
from gateway.problem_types import REGISTRY, ProblemType

Members = dict[str, Any]

FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""What FastAPI would answer to an invalid request. We answer with a problem."""
SCHEMAS = "#/components/schemas/{model}"


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
    operations = list(operations_of(document))
    for operation in operations:
        _tell_scopes(operation)
        operation["responses"] = _responses(operation)
    used = {tag for operation in operations for tag in operation.get("tags", [])}
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    _complete(document.setdefault("components", {}), operations)
    return document


def operations_of(document: Members) -> Iterator[Members]:
    """Every operation of a document."""
    for path in document["paths"].values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))


def _tell_scopes(operation: Members) -> None:
    """Linters take scopes for a thing of OAuth 2 alone, so that they are told in words and as `x-scopes`."""
    scopes = {scope for requirement in operation.get("security", []) for scopes in requirement.values() for scope in scopes}
    if scopes:
        operation["security"] = [{name: [] for name in requirement} for requirement in operation["security"]]
        operation["x-scopes"] = sorted(scopes)
        operation["description"] += f"\n\nNeeds a key with the scope `{'` and `'.join(sorted(scopes))}`."


def _responses(operation: Members) -> Members:
    """What the route says, and every problem that is answered on its behalf."""
    declared = {status: response for status, response in operation["responses"].items() if not _is_of_framework(response)}
    types = {type for response in declared.values() for type in problem_types_of(response)} | set(_added(operation))
    responses = dict(declared)
    for status, response in problem_responses(*types).items():
        responses[str(status)] = _merged(declared.get(str(status), {}), response)
    if "security" in operation:
        for status, response in responses.items():
            if status != "401":
                limits = references(ResponseHeader.RATE_LIMIT, ResponseHeader.RATE_LIMIT_POLICY)
                response["headers"] = response.get("headers", {}) | limits
    return {status: responses[status] for status in sorted(responses)}


def _added(operation: Members) -> Iterator[ProblemType]:
    """What middleware, parameters and handlers answer before or instead of the route."""
    parameters = operation.get("parameters", [])
    if "security" in operation:
        yield from (ProblemType.UNAUTHENTICATED, ProblemType.QUOTA_EXCEEDED)
    if operation.get("x-scopes"):
        yield ProblemType.INSUFFICIENT_SCOPE
    if "requestBody" in operation:
        yield from (ProblemType.MALFORMED_JSON, ProblemType.UNSUPPORTED_MEDIA_TYPE, ProblemType.BODY_TOO_LARGE)
    if "requestBody" in operation or any(_may_be_invalid(parameter) for parameter in parameters):
        yield ProblemType.INVALID_REQUEST
    if any(parameter["in"] == "path" for parameter in parameters):
        yield ProblemType.NOT_FOUND
    yield from (ProblemType.INTERNAL, ProblemType.OVERLOADED)


def _may_be_invalid(parameter: Members) -> bool:
    """Whether a value can break the parameter's schema. In a path that is a 404; any text is good where any text is allowed."""
    forms = parameter["schema"].get("anyOf", [parameter["schema"]])
    is_any_text = all(set(form) <= {"type", "title"} and form.get("type") in ("string", "null") for form in forms)
    return parameter["in"] != "path" and (parameter.get("required", False) or not is_any_text)


def _merged(declared: Members, response: Members) -> Members:
    """One response of a route that also declared other content or headers for its status."""
    is_ours = not declared or problem_types_of(declared)
    return declared | {
        "description": response["description"] if is_ours else f"{declared['description']}\n\n{response['description']}",
        "content": declared.get("content", {}) | response["content"],
        "headers": declared.get("headers", {}) | response.get("headers", {}),
    }


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
