"""Health on the public port, for load balancers: status codes for machines, `?verbose` for people."""

from common.chassis.health import run_checks
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from gateway.dependencies import UseMeans

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="getLiveness", response_class=PlainTextResponse)
async def get_liveness() -> PlainTextResponse:
    """200 while the process answers at all; asks nothing of anyone else."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", operation_id="getReadiness", response_class=PlainTextResponse)
async def get_readiness(request: Request, means: UseMeans) -> PlainTextResponse:
    """200 when the next submission can be promised, else 503; `?verbose` says what each check found."""
    report = await run_checks(means.checks)
    text = report.lines() if "verbose" in request.query_params or not report.is_healthy else "ok\n"
    return PlainTextResponse(text, status_code=200 if report.is_healthy else 503)
