"""What a route says of its answers, in one line: `responses=response(…) | problem_responses(…)`.

Only what the route itself decides. What middleware and handlers answer on its behalf is added in `document.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.openapi.headers import ResponseHeader, references
from gateway.problems.types import MEDIA_TYPE, REGISTRY, ProblemType, reference

Responses = dict[int | str, dict[str, Any]]
"""By status code, as the `responses` of a route take them."""

SCHEMA = {"$ref": "#/components/schemas/Problem"}
OWN_HEADERS: Mapping[ProblemType, ResponseHeader] = {
    ProblemType.UNAUTHENTICATED: ResponseHeader.WWW_AUTHENTICATE,
    ProblemType.METHOD_NOT_ALLOWED: ResponseHeader.ALLOW,
    ProblemType.RANGE_NOT_SATISFIABLE: ResponseHeader.CONTENT_RANGE,
}


def response(status: int, description: str, *headers: ResponseHeader, content: Mapping[str, Any] | None = None) -> Responses:
    """An answer that is no problem: when it comes, its headers, and its content where the route has no model for it."""
    said: dict[str, Any] = {"description": description}
    if headers:
        said["headers"] = references(*headers)
    if content is not None:
        said["content"] = dict(content)
    return {status: said}


def problem_responses(*types: ProblemType) -> Responses:
    """The problems that a route may answer with: for each status one response, with an example of each type."""
    by_status: dict[int, list[ProblemType]] = {}
    for type in sorted(set(types), key=list(ProblemType).index):
        by_status.setdefault(REGISTRY[type].status, []).append(type)
    return {status: _response(alike) for status, alike in by_status.items()}


def problem_types_of(response: Mapping[str, Any]) -> list[ProblemType]:
    """The types that a response made by `problem_responses` is about; empty for any other."""
    return [ProblemType(slug) for slug in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})]


def headers_of(types: Sequence[ProblemType]) -> list[ResponseHeader]:
    """The headers that such problems come with."""
    headers = [OWN_HEADERS[type] for type in types if type in OWN_HEADERS]
    is_for_now = any(REGISTRY[type].retry_after_seconds is not None for type in types)
    return [*headers, ResponseHeader.RETRY_AFTER] if is_for_now else headers


def _response(types: list[ProblemType]) -> dict[str, Any]:
    examples = {type.value: {"$ref": f"#/components/examples/{type}"} for type in types}
    response: dict[str, Any] = {
        "description": "\n\n".join(_sentence(type) for type in types),
        "content": {MEDIA_TYPE: {"schema": SCHEMA, "examples": examples}},
    }
    headers = headers_of(types)
    return response | ({"headers": references(*headers)} if headers else {})


def _sentence(type: ProblemType) -> str:
    return f"[{type}]({reference(type)}): {REGISTRY[type].title}. {REGISTRY[type].remedy}"
