"""Health on the public port, for load balancers: status codes for machines, `?verbose` for people."""

from typing import Annotated, Any

from common.chassis.health import HealthReport, run_checks
from common.chassis.phase import readiness
from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse

from gateway.dependencies import UseMeans
from gateway.openapi.responses import response

router = APIRouter(tags=["health"])

Verbose = Annotated[str | None, Query(description="Present, with any value or none: say what each check found.")]
_EXAMPLE = "[-]events failed: ConnectionRefusedError: cannot connect\n[!]store degraded: no answer in 2 s\nunhealthy\n"


def _lines(example: str) -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}, "example": example}}


@router.get(
    "/livez",
    operation_id="getLiveness",
    response_class=PlainTextResponse,
    responses=response(200, "The process answers.", content=_lines("ok\n")),
)
async def get_liveness() -> PlainTextResponse:
    """200 while the process answers at all; asks nothing of anyone else."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    operation_id="getReadiness",
    response_class=PlainTextResponse,
    responses=response(200, "The next submission can be promised.", content=_lines("ok\n"))
    | response(503, "It cannot; each line is a check.", content=_lines(_EXAMPLE)),
)
async def get_readiness(means: UseMeans, verbose: Verbose = None) -> PlainTextResponse:
    """200 when the next submission can be promised, else 503; `?verbose` says what each check found."""
    return _answer(await run_checks(readiness(means.checks, means.phase)), verbose)


@router.get(
    "/startupz",
    operation_id="getStartup",
    response_class=PlainTextResponse,
    responses=response(200, "The gateway has started.", content=_lines("ok\n"))
    | response(503, "It has not yet.", content=_lines("[-]startup failed: starting\nunhealthy\n")),
)
async def get_startup(means: UseMeans, verbose: Verbose = None) -> PlainTextResponse:
    """200 once the gateway has started, and from then on until it ends."""
    return _answer(await run_checks({"startup": means.phase.check_started}), verbose)


def _answer(report: HealthReport, verbose: str | None) -> PlainTextResponse:
    text = report.lines() if verbose is not None or not report.is_healthy else "ok\n"
    return PlainTextResponse(text, status_code=200 if report.is_healthy else 503)
