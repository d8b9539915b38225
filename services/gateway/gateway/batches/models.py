"""What the public API says of batches."""

from typing import Any, Self
from uuid import UUID

from common.contracts.batches import BatchError, BatchView
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.problems.documents import example_of
from gateway.problems.types import ProblemType

LINES = '{"url": "https://example.com/1", "labels": ["shop"]}\n"https://example.com/2"\nhttps://example.com/3\n'
ITEMS = {"items": [{"url": "https://example.com/1", "labels": ["shop"]}, "https://example.com/2"]}
FETCH_OR_URL = {"oneOf": [{"$ref": "#/components/schemas/FetchSubmission"}, {"type": "string", "format": "uri"}]}
SUBMISSION_CONTENT: dict[str, Any] = {
    "application/x-ndjson": {
        "schema": {"type": "string", "description": "One fetch object or URL a line."},
        "examples": {"lines": {"summary": "An object, a JSON string and a bare URL", "value": LINES}},
    },
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["items"],
            "additionalProperties": False,
            "properties": {"items": {"type": "array", "items": FETCH_OR_URL}},
        },
        "examples": {"items": {"summary": "One document", "value": ITEMS}},
    },
}
"""The two forms of a submission, for the OpenAPI document: no model reads it whole."""
BATCH_ID = "01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a66"
LINKS: JsonValue = {"self": f"/v1/batches/{BATCH_ID}", "fetches": f"/v1/fetches?batch_id={BATCH_ID}"}
ERRORS: JsonValue = [{"line": 3, "problem": example_of(ProblemType.INVALID_REQUEST)}]
RECEIPT_EXAMPLE: JsonValue = {
    "id": BATCH_ID, "accepted": 2, "rejected": 1, "errors": ERRORS, "errors_omitted": 0, "links": LINKS
}
BATCH_EXAMPLE: JsonValue = {
    "id": BATCH_ID,
    "created_at": "2026-12-24T18:00:00Z",
    "total": 2,
    "rejected": 1,
    "is_whole": True,
    "counts": {"queued": 0, "running": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0},
    "finished": False,
    "errors": ERRORS,
    "links": LINKS,
}


class BatchLinks(BaseModel):
    """Where to go from a batch."""

    self_: str = Field(alias="self", serialization_alias="self")
    fetches: str

    @classmethod
    def of(cls, batch_id: UUID) -> Self:
        """The links of a batch."""
        return cls(self=f"/v1/batches/{batch_id}", fetches=f"/v1/fetches?batch_id={batch_id}")


class BatchReceipt(BaseModel):
    """The answer to a submission: how many lines were accepted, and each one that was not."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECEIPT_EXAMPLE]})

    id: UUID
    accepted: int = Field(description="Lines that are fetches now.")
    rejected: int = Field(description="Lines that are not.")
    errors: list[BatchError] = Field(description="The refused lines, in order, each with its problem.")
    errors_omitted: int = Field(default=0, description="Refused lines beyond the number that an answer lists.")
    links: BatchLinks


class BatchDocument(BatchView):
    """One batch, as the public API shows it."""

    model_config = ConfigDict(json_schema_extra={"examples": [BATCH_EXAMPLE]})

    links: BatchLinks

    @classmethod
    def of(cls, view: BatchView) -> Self:
        """The document of a view."""
        return cls(**dict(view), links=BatchLinks.of(view.id))
