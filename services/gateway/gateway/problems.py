"""Problem details (RFC 9457): the registry of everything the API can refuse with, and how exceptions become documents.

HTTP status codes of refusals exist only here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast
from urllib.parse import quote

import structlog
from common.chassis.telemetry import current_trace_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.errors import EventsUnavailable, GatewayError, IngestBacklog, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
KEY_MARK = "[key]"
"""What pydantic puts behind a member whose name, not its value, is at fault."""
RULE_MARK = "Value error, "
"""What pydantic puts before the sentence of a rule of ours."""

log = structlog.get_logger()


class ProblemType(StrEnum):
    """The stable name of a kind of problem; the last part of its `type` reference."""

    MALFORMED_JSON = "malformed-json"
    INVALID_REQUEST = "invalid-request"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    BODY_TOO_LARGE = "body-too-large"
    UNAUTHENTICATED = "unauthenticated"
    INSUFFICIENT_SCOPE = "insufficient-scope"
    KEY_REVOKED = "key-revoked"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    NOT_FINISHED = "not-finished"
    NO_CONTENT = "no-content"
    ALREADY_FINISHED = "already-finished"
    CURSOR_MISMATCH = "cursor-mismatch"
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable"
    IDEMPOTENCY_KEY_MALFORMED = "idempotency-key-malformed"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    IDEMPOTENCY_KEY_IN_FLIGHT = "idempotency-key-in-flight"
    QUOTA_EXCEEDED = "quota-exceeded"
    OVERLOADED = "overloaded"
    EVENTS_UNAVAILABLE = "events-unavailable"
    STORE_UNAVAILABLE = "store-unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all problems of one type share: status, title, and what to do about them."""

    status: int
    title: str
    remedy: str
    retry_after_seconds: int | None = None


REGISTRY: Mapping[ProblemType, Kind] = {
    ProblemType.MALFORMED_JSON: Kind(
        status=400, title="The body is not JSON", remedy="Send one JSON object, encoded as UTF-8."
    ),
    ProblemType.INVALID_REQUEST: Kind(
        status=422, title="The request is not valid", remedy="Correct the members named in `errors` and send it again."
    ),
    ProblemType.UNSUPPORTED_MEDIA_TYPE: Kind(
        status=415, title="The body's media type is not supported", remedy="Send the header `Content-Type: application/json`."
    ),
    ProblemType.BODY_TOO_LARGE: Kind(
        status=413, title="The body is too large", remedy="Send a smaller body; `detail` names the limit."
    ),
    ProblemType.UNAUTHENTICATED: Kind(
        status=401, title="The API key is missing or wrong", remedy="Send the header `Authorization: Bearer KEY`."
    ),
    ProblemType.INSUFFICIENT_SCOPE: Kind(
        status=403, title="The API key may not do this", remedy="Use a key with the scope that `detail` names."
    ),
    ProblemType.KEY_REVOKED: Kind(
        status=409, title="The API key has been revoked", remedy="Make another key: a revoked one stays revoked."
    ),
    ProblemType.NOT_FOUND: Kind(status=404, title="There is nothing here", remedy="Check the path and the id."),
    ProblemType.METHOD_NOT_ALLOWED: Kind(
        status=405, title="The method is not allowed here", remedy="Use one of the methods in the `Allow` header."
    ),
    ProblemType.NOT_FINISHED: Kind(
        status=409, title="The fetch is not finished", remedy="Ask again after `Retry-After` seconds.", retry_after_seconds=1
    ),
    ProblemType.NO_CONTENT: Kind(
        status=404, title="The fetch has no content", remedy="Read the fetch itself: its `status` and `error` say why."
    ),
    ProblemType.ALREADY_FINISHED: Kind(
        status=409, title="The fetch has already finished", remedy="Read the fetch: what came of it stays as it is."
    ),
    ProblemType.CURSOR_MISMATCH: Kind(
        status=400,
        title="The cursor does not belong to this list",
        remedy="Start again without `cursor`, or repeat the filters that the cursor came with.",
    ),
    ProblemType.RANGE_NOT_SATISFIABLE: Kind(
        status=416,
        title="The range is outside the content",
        remedy="Ask for bytes within the size that `Content-Range` tells, or leave `Range` out.",
    ),
    ProblemType.IDEMPOTENCY_KEY_MALFORMED: Kind(
        status=400, title="The Idempotency-Key is malformed", remedy="Send 1 to 255 printable ASCII characters, quoted or not."
    ),
    ProblemType.IDEMPOTENCY_KEY_REUSED: Kind(
        status=422,
        title="The Idempotency-Key came with another request before",
        remedy="Repeat the first request as it was, or take a new key for a new request.",
    ),
    ProblemType.IDEMPOTENCY_KEY_IN_FLIGHT: Kind(
        status=409,
        title="The first request with this Idempotency-Key is still under way",
        remedy="Send it again after `Retry-After` seconds: you will get the first request's answer.",
        retry_after_seconds=1,
    ),
    ProblemType.QUOTA_EXCEEDED: Kind(
        status=429,
        title="The API key has used up its quota",
        remedy="Send it again after `Retry-After` seconds; `detail` names the limit.",
        retry_after_seconds=1,
    ),
    ProblemType.OVERLOADED: Kind(
        status=503,
        title="More arrives than we can take in",
        remedy="Send it again after `Retry-After` seconds.",
        retry_after_seconds=2,
    ),
    ProblemType.EVENTS_UNAVAILABLE: Kind(
        status=503, title="The fetch could not be promised", remedy="Send it again; nothing was promised.", retry_after_seconds=1
    ),
    ProblemType.STORE_UNAVAILABLE: Kind(
        status=503,
        title="The ledger cannot be asked right now",
        remedy="Ask again; accepted fetches go on.",
        retry_after_seconds=1,
    ),
    ProblemType.INTERNAL: Kind(status=500, title="Something went wrong on our side", remedy="Report the `trace_id`."),
}


GATEWAY_ERRORS: Sequence[tuple[type[GatewayError], ProblemType]] = (
    (IngestBacklog, ProblemType.OVERLOADED),
    (EventsUnavailable, ProblemType.EVENTS_UNAVAILABLE),
    (StoreUnavailable, ProblemType.STORE_UNAVAILABLE),
)
"""Which problem each failure of a dependency becomes; the most specific first."""


class Problem(Exception):
    """Raised by a route to answer with a problem document: its type, a sentence that says what to do, the members at fault."""

    def __init__(self, type: ProblemType, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(type, detail, errors)
        self.type = type
        self.detail = detail
        self.errors = errors

    @classmethod
    def of_members(cls, faults: Sequence[tuple[str, str]]) -> "Problem":
        """An invalid request: for each top-level member of its body that is at fault its name and a sentence."""
        errors = [{"detail": detail, "pointer": _pointer(("body", member))} for member, detail in faults]
        return cls(ProblemType.INVALID_REQUEST, _count(errors), errors)


def problem_response(
    type: ProblemType,
    detail: str,
    *,
    instance: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The document and its headers. `detail` says how to mend this request and never what happened inside."""
    kind = REGISTRY[type]
    document: dict[str, Any] = {
        "type": f"/problems/{type}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        "trace_id": current_trace_id(),
        "retryable": kind.retry_after_seconds is not None,
    }
    if errors:
        document["errors"] = list(errors)
    sent = dict(headers or {})
    if kind.retry_after_seconds is not None:
        sent["Retry-After"] = str(kind.retry_after_seconds)
    if type is ProblemType.UNAUTHENTICATED:
        sent["WWW-Authenticate"] = 'Bearer realm="fetchwork"'
    return JSONResponse(document, status_code=kind.status, headers=sent, media_type=MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Answer every refusal and every failure of this application with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(GatewayError, _on_gateway_error)


def internal_problem(request_path: str) -> JSONResponse:
    """The answer to a fault of our own, without a word about it."""
    return problem_response(ProblemType.INTERNAL, "The fault is logged under this trace id.", instance=request_path)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    problem = cast(Problem, error)
    return problem_response(problem.type, problem.detail, instance=request.url.path, errors=problem.errors)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    refusal = cast(HTTPException, error)
    if refusal.status_code == 405:
        detail = f"{request.method} is not supported on this path."
        return problem_response(ProblemType.METHOD_NOT_ALLOWED, detail, instance=request.url.path, headers=refusal.headers)
    return problem_response(ProblemType.NOT_FOUND, "No route has this path.", instance=request.url.path)


async def _on_gateway_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("dependency failed", error=type(error).__name__, reason=str(error))
    problem = next((problem for kind, problem in GATEWAY_ERRORS if isinstance(error, kind)), ProblemType.INTERNAL)
    return problem_response(problem, REGISTRY[problem].remedy, instance=request.url.path)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    faults = cast(RequestValidationError, error).errors()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_of_body = any(fault["loc"][0] == "body" for fault in faults)
    if is_of_body and media_type != "application/json" and not media_type.endswith("+json"):
        detail = f"The body was sent as {media_type or 'nothing'}; this API reads application/json."
        return problem_response(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail[:300], instance=request.url.path)
    if any(fault["type"] == "json_invalid" for fault in faults):
        position = next(str(fault["loc"][-1]) for fault in faults if fault["type"] == "json_invalid")
        detail = f"The body stops being JSON at character {position}."
        return problem_response(ProblemType.MALFORMED_JSON, detail, instance=request.url.path)
    if any(fault["loc"][0] == "path" for fault in faults):
        return problem_response(ProblemType.NOT_FOUND, "The id in the path is malformed.", instance=request.url.path)
    errors = [_error(fault) for fault in faults]
    return problem_response(ProblemType.INVALID_REQUEST, _count(errors), instance=request.url.path, errors=errors)


def _count(errors: Sequence[Mapping[str, str]]) -> str:
    return f"{len(errors)} member{'s' if len(errors) > 1 else ''} of the request must be corrected."


def _error(fault: Mapping[str, Any]) -> dict[str, str]:
    """A pointer leads into the body; what is wrong in the query is named as the parameter that it is."""
    if fault["loc"][0] == "query":
        return {"detail": _sentence(fault), "parameter": str(fault["loc"][1])}
    return {"detail": _sentence(fault), "pointer": _pointer(_location(fault))}


def _sentence(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "This member is not known; remove it or check its spelling."
    if fault["type"] == "missing":
        return "This member is required." if len(fault["loc"]) > 1 else "A JSON object is required as the body."
    sentence = str(fault["msg"]).removeprefix(RULE_MARK).rstrip(".") + "."
    return sentence[0].upper() + sentence[1:]


def _location(fault: Mapping[str, Any]) -> Sequence[str | int]:
    """Where the fault is; a rule over several members names the one to mend in its context."""
    member = fault.get("ctx", {}).get("member")
    return fault["loc"] if member is None else (*fault["loc"], member)


def _pointer(location: Sequence[str | int]) -> str:
    """The JSON Pointer (RFC 6901), as a URI fragment (its section 6), of a member of the body."""
    members = [str(part) for part in location[1:] if part != KEY_MARK]
    return "#" + "".join("/" + quote(member.replace("~", "~0").replace("/", "~1")) for member in members)
