"""How the OpenAPI document tells refusals under /v2: in Firecrawl's form, with Firecrawl's statuses, and not as problems."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.openapi.headers import references
from gateway.openapi.responses import Responses, headers_of
from gateway.problems.types import REGISTRY, ProblemType

PREFIX = "/v2/"
STATUSES = {422: 400}
"""What Firecrawl says otherwise: a request that is not valid is a bad one."""
SCHEMA = {"$ref": "#/components/schemas/FirecrawlRefusal"}


class FirecrawlRefusal(BaseModel):
    """A refusal, or a scrape that failed, as Firecrawl tells it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"success": False, "code": "SCRAPE_TIMEOUT", "error": "The page was not there within 30 seconds."}]
        }
    )

    success: Literal[False]
    error: str = Field(description="What is wrong, as a sentence. For people: do not parse it.")
    code: str | None = Field(default=None, description="Of a scrape that failed: which way.")


def refusal_content(examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The `content` of a response with these refusals, each under its name."""
    named = {name: {"value": example} for name, example in examples.items()}
    return {"application/json": {"schema": SCHEMA, "examples": named}}


def refusal_responses(*types: ProblemType) -> Responses:
    """What `problem_responses` says, as it is answered under /v2."""
    by_status: dict[int, list[ProblemType]] = {}
    for type in sorted(set(types), key=list(ProblemType).index):
        by_status.setdefault(STATUSES.get(REGISTRY[type].status, REGISTRY[type].status), []).append(type)
    return {status: _response(alike) for status, alike in sorted(by_status.items())}


def _response(types: list[ProblemType]) -> dict[str, Any]:
    return {
        "description": "\n\n".join(f"{REGISTRY[type].title}. {REGISTRY[type].remedy}" for type in types),
        "content": refusal_content({type.value: {"success": False, "error": _sentence(type)} for type in types}),
        "headers": references(*headers_of(types)),
    }


def _sentence(type: ProblemType) -> str:
    kind = REGISTRY[type]
    return f"url: {kind.errors[0]['detail']}" if kind.errors else kind.example
