"""Walk every route that has an object in its path, as a stranger to that object.

The routes come from the OpenAPI document, so that a new one is walked by itself; one that OBJECTS does not know fails the walk.
Runs against any gateway: give it a client of each tenant and one object of the owner for each kind.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import httpx2

METHODS = ("get", "head", "post", "put", "patch", "delete")
"""In the order in which an owner can use them all on one object."""
PARAMETER = re.compile(r"\{(\w+)\}")
PASSING = frozenset({"date", "content-length", "retry-after", "ratelimit", "ratelimit-policy", "traceparent"})
"""Headers whose values differ between any two answers."""


class Kind(StrEnum):
    """Whose the object in a path is."""

    FETCH = "fetch of a tenant"
    BATCH = "batch of a tenant"
    OPERATORS = "operators of all tenants"
    PUBLIC = "nobody's"


OBJECTS: Mapping[str, Kind] = {
    "/v1/fetches/{fetch_id}": Kind.FETCH,
    "/v1/fetches/{fetch_id}/content": Kind.FETCH,
    "/v1/fetches/{fetch_id}/retry": Kind.FETCH,
    "/v1/batches/{batch_id}": Kind.BATCH,
    "/v2/batch/scrape/{batch_id}": Kind.BATCH,
    "/v1/hosts/{host}": Kind.OPERATORS,
    "/v1/keys/{key_id}": Kind.OPERATORS,
    "/v1/keys/{key_id}/rotate": Kind.OPERATORS,
    "/v1/dead-letters/{dead_letter_id}/redrive": Kind.OPERATORS,
    "/problems/{slug}": Kind.PUBLIC,
}
"""What stands in the path of each route. A new route with an object in its path needs a line here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one route."""

    method: str
    template: str
    kind: Kind | None

    def path(self, name: str) -> str:
        """The path to an object."""
        return PARAMETER.sub(name, self.template)

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def operations(openapi: Mapping[str, Any]) -> Iterator[Operation]:
    """Every operation of the document. Raises KeyError for a route with an object in its path that OBJECTS does not know."""
    for template, item in openapi["paths"].items():
        kind = OBJECTS[template] if PARAMETER.search(template) else None
        for method in METHODS:
            if method in item:
                yield Operation(method=method.upper(), template=template, kind=kind)


async def assert_strangers_see_nothing(
    openapi: Mapping[str, Any],
    *,
    owner: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    objects: Mapping[Kind, UUID],
    unknown: UUID,
) -> list[Operation]:
    """A stranger is answered about each object as about one that never was, and the object stays as its owner knows it.

    The owner is answered otherwise, which shows that the object is there. Returns what was walked.
    """
    walked = [operation for operation in operations(openapi) if operation.kind in objects]
    before = await _seen(walked, by=owner, objects=objects)
    for operation in walked:
        theirs = await _ask(stranger, operation, str(objects[_kind(operation)]))
        nobodys = await _ask(stranger, operation, str(unknown))
        assert theirs.status_code == nobodys.status_code == 404, f"{operation}: {theirs.status_code}, {nobodys.status_code}"
        assert _shape(theirs) == _shape(nobodys), operation
    assert await _seen(walked, by=owner, objects=objects) == before
    for operation in sorted(walked, key=lambda operation: METHODS.index(operation.method.lower())):
        owners = await _ask(owner, operation, str(objects[_kind(operation)]))
        assert owners.status_code not in (401, 403, 404, 405, 422), f"{operation}: {owners.status_code} for its owner"
    return walked


async def assert_only_operators(openapi: Mapping[str, Any], *, client: httpx2.AsyncClient) -> list[Operation]:
    """Who has every scope but `admin` is refused on the routes of operators, whether their object is there or not."""
    known = list(operations(openapi))
    rooms = tuple({_room(operation.template) for operation in known if operation.kind is Kind.OPERATORS})
    walked = [operation for operation in known if _room(operation.template) in rooms]
    for operation in walked:
        answer = await _ask(client, operation, "1")
        assert answer.status_code == 403, f"{operation}: {answer.status_code}"
        assert answer.request.method == "HEAD" or "admin" in answer.json()["detail"]
    return walked


def _room(template: str) -> str:
    """The collection that a route belongs to, such as `/v1/hosts`."""
    return "/".join(template.split("/")[:3])


def _kind(operation: Operation) -> Kind:
    assert operation.kind is not None
    return operation.kind


async def _seen(walked: list[Operation], *, by: httpx2.AsyncClient, objects: Mapping[Kind, UUID]) -> list[tuple[int, bytes]]:
    """What can be read of the objects, by whom they belong to, and the list that they are in."""
    paths = [operation.path(str(objects[_kind(operation)])) for operation in walked if operation.method == "GET"]
    answers = [await by.get(path) for path in [*paths, "/v1/fetches"]]
    return [(answer.status_code, b"" if answer.is_error else answer.content) for answer in answers]


async def _ask(client: httpx2.AsyncClient, operation: Operation, name: str) -> httpx2.Response:
    content = {"json": {}} if operation.method in ("POST", "PUT", "PATCH") else {}
    return await client.request(operation.method, operation.path(name), **content)


def _shape(answer: httpx2.Response) -> tuple[Any, dict[str, str]]:
    """All of an answer but what differs from request to request."""
    name = str(answer.request.url.path)
    document = {} if answer.request.method == "HEAD" else answer.json()
    known = {member: value for member, value in document.items() if member != "trace_id"}
    if "instance" in known:
        assert known.pop("instance") == name
    return known, {header: value for header, value in answer.headers.items() if header not in PASSING}
