"""Plans: what fetches would meet, without making them."""

from common.contracts.keys import Scope
from fastapi import APIRouter, Response

from gateway.dependencies import UseMeans, requires
from gateway.http.answers import answer
from gateway.openapi.responses import response
from gateway.plans.models import PlanDocument, PlanSubmission
from gateway.problems.answers import Problem

router = APIRouter(tags=["plans"])


@router.post(
    "/v1/fetches:plan",
    operation_id="planFetches",
    response_model=PlanDocument,
    responses=response(200, "What a fetch of each URL would meet now."),
    dependencies=[requires(Scope.FETCH_READ)],
)
async def plan_fetches(submission: PlanSubmission, means: UseMeans) -> Response:
    """Say for each URL whether it may be fetched, what robots.txt says, at what pace and how early; nothing is fetched.

    No origin is asked for anything; names are looked up. A malformed URL is an item too: refused, with what to change. What is
    planned is true now: an address, a robots.txt or a pace may be another by the time of the fetch, which is judged anew.
    """
    if len(submission.urls) > means.planner.urls_limit:
        raise Problem.of_members([("urls", f"These are more than {means.planner.urls_limit}.")])
    return answer(await means.planner.plan(submission.urls), headers={"Cache-Control": "no-store"})
