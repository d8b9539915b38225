"""What each problem type means: the page that a problem's `type` leads to."""

from fastapi import APIRouter

from gateway.problems import REGISTRY, Problem, ProblemType

router = APIRouter(tags=["problems"])


@router.get("/problems/{slug}", operation_id="getProblemType")
async def get_problem_type(slug: str) -> dict[str, str | int]:
    """Title, status and remedy of one problem type."""
    try:
        problem = ProblemType(slug)
    except ValueError:
        raise Problem(ProblemType.NOT_FOUND, "No problem type has this name.") from None
    kind = REGISTRY[problem]
    return {"type": f"/problems/{problem}", "title": kind.title, "status": kind.status, "remedy": kind.remedy}
