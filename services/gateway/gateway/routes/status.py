"""The status page, signing in to it, and signing out. For browsers, with forms and a cookie; no part of the API."""

from urllib.parse import parse_qs

from common.chassis.health import HealthReport, run_checks
from common.contracts.keys import Scope
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.access.sessions import session_cookie, session_of
from gateway.dependencies import Means, UseMeans
from gateway.errors import EventsUnavailable, StoreUnavailable
from gateway.http.same_origin import is_cross_origin
from gateway.metrics import KeyRefusal
from gateway.principal import Principal
from gateway.problems.answers import REGISTRY, Problem, ProblemType
from gateway.status.page import Facts, sign_in_page, status_page

KEY_FIELD = "key"
SEE_OTHER = 303
UNAVAILABLE = REGISTRY[ProblemType.STORE_UNAVAILABLE].status

router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_status(request: Request, means: UseMeans) -> HTMLResponse:
    """Everything for operators who signed in; for all others whether the service is ready, and how to sign in."""
    report = await run_checks(means.checks)
    try:
        operator = await _operator(request, means)
    except (EventsUnavailable, StoreUnavailable):
        return _try_later(report, "Nobody can say right now whether you are signed in. Try again soon.")
    if operator is None:
        return sign_in_page(report)
    facts = Facts(
        report=report,
        overview=await means.overview.read(),
        closed_gates=means.metrics.closed_gates,
        name=operator.actor,
        address=_address(request, means),
    )
    return status_page(facts)


@router.post("/session")
async def sign_in(request: Request, means: UseMeans) -> Response:
    """Begin a session with an API key that has the scope `admin`, and show the page."""
    report = await run_checks(means.checks)
    if is_cross_origin(request.headers):
        return _refuse(report, ProblemType.INSUFFICIENT_SCOPE, "That came from another site. Sign in here.")
    try:
        found = await means.credentials.judge(await _given_key(request))
        if isinstance(found, KeyRefusal):
            means.metrics.refused_keys.labels(reason=found).inc()
            return _refuse(report, ProblemType.UNAUTHENTICATED, "That is no key of this deployment, or it is good no more.")
        if Scope.ADMIN not in found.scopes:
            return _refuse(report, ProblemType.INSUFFICIENT_SCOPE, "That key is good, but this page needs the scope admin.")
        secret = await means.sessions.make_secret(found)
    except (EventsUnavailable, StoreUnavailable):
        return _try_later(report, "Nobody can say right now whether that key is good. Try again soon.")
    except Problem as problem:
        return _refuse(report, problem.type, "That key has opened too many sessions of late. Use one of those.")
    cookie = session_cookie(secret, seconds=means.sessions.ttl_seconds, is_secure=_is_https(request, means))
    return _to_the_page(cookie)


@router.post("/session/end")
async def sign_out(request: Request, means: UseMeans) -> Response:
    """End the session, on every gateway."""
    if is_cross_origin(request.headers):
        return _refuse(await run_checks(means.checks), ProblemType.INSUFFICIENT_SCOPE, "That came from another site.")
    secret = session_of(request.headers.get("cookie"))
    try:
        if secret is not None:
            await means.sessions.forget(secret)
    except EventsUnavailable:
        return _try_later(await run_checks(means.checks), "You are still signed in. Try again soon.")
    return _to_the_page(session_cookie("", seconds=0, is_secure=_is_https(request, means)))


async def _operator(request: Request, means: Means) -> Principal | None:
    """Who has signed in, if their key would still be let in. Raises EventsUnavailable and StoreUnavailable."""
    secret = session_of(request.headers.get("cookie"))
    if secret is None:
        return None
    found = await means.credentials.judge_holder(await means.sessions.find_holder(secret))
    return None if isinstance(found, KeyRefusal) else found


async def _given_key(request: Request) -> bytes | None:
    """The key of a form as browsers send it (`application/x-www-form-urlencoded`); its size is bounded like every body's."""
    try:
        given = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10).get(KEY_FIELD, [])
    except ValueError:  # more fields than our form has
        return None
    return given[0].strip().encode() if len(given) == 1 and given[0].strip() else None


def _is_https(request: Request, means: Means) -> bool:
    return means.is_public_https or request.url.scheme == "https"


def _address(request: Request, means: Means) -> str:
    """Of this gateway, as the browser has it."""
    return f"{'https' if _is_https(request, means) else 'http'}://{request.url.netloc}"


def _refuse(report: HealthReport, type: ProblemType, error: str) -> HTMLResponse:
    headers = {"WWW-Authenticate": 'Bearer realm="fetchwork"'} if type is ProblemType.UNAUTHENTICATED else {}
    return sign_in_page(report, error=error, status=REGISTRY[type].status, headers=headers)


def _try_later(report: HealthReport, error: str) -> HTMLResponse:
    return sign_in_page(report, error=error, status=UNAVAILABLE, headers={"Retry-After": "1"})


def _to_the_page(cookie: str) -> Response:
    return RedirectResponse("/", status_code=SEE_OTHER, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})
