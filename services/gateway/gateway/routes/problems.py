"""What each problem type means: the pages that a problem's `type` leads to, for people and for programs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from gateway.http.answers import answer
from gateway.openapi.responses import problem_responses, response
from gateway.pages import problem_page, problems_page
from gateway.problems.answers import Problem
from gateway.problems.documents import ProblemTypeDocument, ProblemTypesDocument
from gateway.problems.types import ProblemType

router = APIRouter(prefix="/problems", tags=["problems"])

HEADERS = {"Vary": "Accept", "Cache-Control": "no-cache"}
EXAMPLE = ProblemTypeDocument.of(ProblemType.NOT_FINISHED).model_dump(mode="json")


def _forms(example: Any) -> dict[str, Any]:
    return {"application/json": {"example": example}, "text/html": {"schema": {"type": "string"}}}


@router.get(
    "",
    operation_id="listProblemTypes",
    response_model=ProblemTypesDocument,
    responses=response(200, "All types; as a page where the request accepts `text/html`.", content=_forms({"items": [EXAMPLE]})),
)
async def list_problem_types(request: Request) -> Response:
    """Every problem type of this API."""
    if _is_for_people(request):
        return _varying(problems_page())
    return answer(ProblemTypesDocument(items=[ProblemTypeDocument.of(type) for type in ProblemType]), headers=HEADERS)


@router.get(
    "/{slug}",
    operation_id="getProblemType",
    response_model=ProblemTypeDocument,
    responses=response(200, "The type; as a page where the request accepts `text/html`.", content=_forms(EXAMPLE))
    | problem_responses(ProblemType.NOT_FOUND),
)
async def get_problem_type(
    slug: Annotated[str, Path(description="The last part of a problem's `type`.")], request: Request
) -> Response:
    """One problem type: its title and status, what to do, and an example."""
    try:
        type = ProblemType(slug)
    except ValueError:
        raise Problem(ProblemType.NOT_FOUND, "No problem type has this name.") from None
    if _is_for_people(request):
        return _varying(problem_page(type))
    return answer(ProblemTypeDocument.of(type), headers=HEADERS)


def _is_for_people(request: Request) -> bool:
    """Browsers name HTML among what they accept; programs hardly ever do."""
    return "text/html" in request.headers.get("accept", "")


def _varying(page: Response) -> Response:
    page.headers["Vary"] = "Accept"
    return page
