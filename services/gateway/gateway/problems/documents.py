"""The shape of a problem document (RFC 9457 section 3.1), and an example of each type."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.problems.types import REGISTRY, ProblemType, reference

EXAMPLE_INSTANCE = "/v1/fetches/01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55"
EXAMPLE_TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class MemberFault(BaseModel):
    """One member of the body, or one parameter, that is at fault."""

    detail: str = Field(description="What to correct, as a sentence.")
    pointer: str | None = Field(
        default=None, description="Where in the body: a JSON Pointer (RFC 6901) as a URI fragment, such as `#/url`."
    )
    parameter: str | None = Field(default=None, description="Which query parameter, instead of `pointer`.")


class ProblemDocument(BaseModel):
    """A refusal as the API tells it (RFC 9457). Members that are not known are to be ignored."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="Which kind of problem, as a reference that leads to its page; compare it as text.")
    title: str = Field(description="The kind of problem in a few words; the same for all of its type.")
    status: int = Field(ge=400, le=599, description="The status code of the answer.")
    detail: str = Field(description="What to do about this one, as a sentence. For people: do not parse it.")
    instance: str = Field(description="The path that was asked for.")
    trace_id: str | None = Field(description="What to tell us, so that we find this request in our logs and traces.")
    retryable: bool = Field(description="Whether the same request may succeed later; the header `Retry-After` says when.")
    errors: list[MemberFault] = Field(default=[], description="What to correct; only with `invalid-request`.")


def problem_document(
    type: ProblemType, detail: str, *, instance: str, trace_id: str | None, errors: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """The members of a problem, as `ProblemDocument` describes them; `errors` only where there are any."""
    kind = REGISTRY[type]
    document: dict[str, Any] = {
        "type": reference(type),
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        "trace_id": trace_id,
        "retryable": kind.retry_after_seconds is not None,
    }
    return document | ({"errors": list(errors)} if errors else {})


def example_of(type: ProblemType) -> dict[str, Any]:
    """A problem of this type as a caller might get it."""
    kind = REGISTRY[type]
    return problem_document(type, kind.example, instance=EXAMPLE_INSTANCE, trace_id=EXAMPLE_TRACE_ID, errors=kind.errors)


class ProblemTypeDocument(BaseModel):
    """What one type of problem means."""

    type: str = Field(description="The `type` of its problems, and the path of this document.")
    title: str
    status: int
    remedy: str = Field(description="What to do about such a problem.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    examples: list[dict[str, JsonValue]] = Field(description="Problems of this type.")

    @classmethod
    def of(cls, type: ProblemType) -> Self:
        """The document of a type."""
        kind = REGISTRY[type]
        return cls(
            type=reference(type),
            title=kind.title,
            status=kind.status,
            remedy=kind.remedy,
            retryable=kind.retry_after_seconds is not None,
            examples=[example_of(type)],
        )


class ProblemTypesDocument(BaseModel):
    """Every type of problem."""

    items: list[ProblemTypeDocument]
