"""Problem details (RFC 9457): how refusals and failures become answers. Which there are is in `problem_types.py`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

import structlog
from common.chassis.telemetry import current_trace_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from gateway.errors import (
    EventsUnavailable,
    FeedUnavailable,
    GatewayError,
    IngestBacklog,
    QuotaExceeded,
    RecordsFull,
    StoreUnavailable,
)
from gateway.metrics import KeyVerdict
from gateway.problems.documents import problem_document
from gateway.problems.types import MEDIA_TYPE, REGISTRY, ProblemType

__all__ = [
    "REGISTRY",
    "Problem",
    "ProblemType",
    "gateway_error_response",
    "install_problems",
    "internal_problem",
    "member_faults",
    "problem_answer",
    "problem_response",
]

KEY_MARK = "[key]"
"""What pydantic puts behind a member whose name, not its value, is at fault."""
RULE_MARK = "Value error, "
"""What pydantic puts before the sentence of a rule of ours."""

log = structlog.get_logger()


GATEWAY_ERRORS: Sequence[tuple[type[GatewayError], ProblemType]] = (
    (IngestBacklog, ProblemType.OVERLOADED),
    (RecordsFull, ProblemType.OVERLOADED),
    (EventsUnavailable, ProblemType.EVENTS_UNAVAILABLE),
    (FeedUnavailable, ProblemType.FEED_UNAVAILABLE),
    (StoreUnavailable, ProblemType.STORE_UNAVAILABLE),
    (QuotaExceeded, ProblemType.QUOTA_EXCEEDED),
)
"""Which problem each limit of a caller and each failure of a dependency becomes; the most specific first."""
KEY_PROBLEMS: Mapping[KeyVerdict, ProblemType] = {
    KeyVerdict.REUSED: ProblemType.IDEMPOTENCY_KEY_REUSED,
    KeyVerdict.IN_FLIGHT: ProblemType.IDEMPOTENCY_KEY_IN_FLIGHT,
}
"""How a request is refused whose Idempotency-Key stands for something else."""


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

    @classmethod
    def of_failure(cls, error: GatewayError, *, done: str) -> "Problem":
        """The problem that a failure is, of a request that has done something already: a sentence says what."""
        type = next((problem for kind, problem in GATEWAY_ERRORS if isinstance(error, kind)), ProblemType.INTERNAL)
        return cls(type, f"{REGISTRY[type].remedy} {done}")

    def after(self, *, done: str) -> "Problem":
        """The same, of a request that has done something already: a sentence says what."""
        return Problem(self.type, f"{self.detail} {done}", self.errors)

    @classmethod
    def of_key(cls, verdict: KeyVerdict) -> "Problem":
        """The refusal of an Idempotency-Key that is REUSED or IN_FLIGHT."""
        return cls(KEY_PROBLEMS[verdict], REGISTRY[KEY_PROBLEMS[verdict]].remedy)


def problem_response(
    type: ProblemType,
    detail: str,
    *,
    instance: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """The document and its headers. `detail` says how to mend this request and never what happened inside.

    `members` are extensions of this type of problem (RFC 9457, section 3.2).
    """
    kind = REGISTRY[type]
    document = problem_document(type, detail, instance=instance, trace_id=current_trace_id(), errors=errors) | dict(members or {})
    sent = dict(headers or {})
    if kind.retry_after_seconds is not None:
        sent.setdefault("Retry-After", str(kind.retry_after_seconds))
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


def gateway_error_response(error: GatewayError, *, instance: str, detail: str | None = None) -> JSONResponse:
    """The answer to a limit of the caller's, or to a failure of what the gateway stands on, which is logged."""
    if isinstance(error, QuotaExceeded):
        return _quota_response(error, instance=instance)
    log.warning("dependency failed", error=type(error).__name__, reason=str(error))
    problem = next((problem for kind, problem in GATEWAY_ERRORS if isinstance(error, kind)), ProblemType.INTERNAL)
    return problem_response(problem, detail or REGISTRY[problem].remedy, instance=instance)


def problem_answer(problem: Problem, *, instance: str) -> JSONResponse:
    """The answer that a problem asks for, for who is no route."""
    return problem_response(problem.type, problem.detail, instance=instance, errors=problem.errors)


def _quota_response(error: QuotaExceeded, *, instance: str) -> JSONResponse:
    """429: the caller's limit, not our load. Names the policies as the rate limit draft's own problem type does (section 5.1)."""
    return problem_response(
        ProblemType.QUOTA_EXCEEDED,
        error.detail,
        instance=instance,
        headers={"Retry-After": str(error.retry_after_seconds), "Cache-Control": "no-store"},
        members={"violated-policies": [error.limit]},
    )


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    return problem_answer(cast(Problem, error), instance=request.url.path)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    refusal = cast(HTTPException, error)
    if refusal.status_code == 400:  # the framework's word for a body that it could not even begin to parse
        detail = "The body cannot be read as JSON: it is not UTF-8, or nested too deeply."
        return problem_response(ProblemType.MALFORMED_JSON, detail, instance=request.url.path)
    if refusal.status_code == 405:
        detail = f"{request.method} is not supported on this path."
        headers = {"Allow": ", ".join(_methods(request))}
        return problem_response(ProblemType.METHOD_NOT_ALLOWED, detail, instance=request.url.path, headers=headers)
    return problem_response(ProblemType.NOT_FOUND, "No route has this path.", instance=request.url.path)


def _methods(request: Request) -> list[str]:
    """All that the path knows (RFC 9110 section 10.2.1); the framework knows only those of the first route that fits."""
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path is not None]
    fitting = [route for route in routes if compile_path(str(route.path))[0].match(request.url.path)]
    return sorted({method for route in fitting for method in route.methods or ()})


async def _on_gateway_error(request: Request, error: Exception) -> JSONResponse:
    return gateway_error_response(cast(GatewayError, error), instance=request.url.path)


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


def member_faults(faults: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What pydantic found wrong in a body, for the problem's `errors`; locations begin with "body"."""
    return [_error(fault) for fault in faults]


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
