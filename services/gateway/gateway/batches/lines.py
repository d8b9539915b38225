"""Read one line of a batch: a fetch object, a JSON string or bare text that is a URL; or the problem with it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from common.chassis.telemetry import current_trace_id
from common.contracts.batches import BatchError
from common.urls import UrlRefusal, read_url
from pydantic import ValidationError
from pydantic_core import from_json

from gateway.batches.splitting import Line
from gateway.models import FetchSubmission, time_faults
from gateway.problems.answers import member_faults
from gateway.problems.documents import problem_document
from gateway.problems.types import ProblemType

INSTANCE = "/v1/batches"
ERRORS_OF_LINE = 10
"""Members at fault that one line's problem names; it may have thousands, whose names are its sender's."""
ERROR_LIMIT_CHARACTERS = 300
NOT_A_FETCH = "A line is a fetch object, or a URL with or without quotation marks."


def read_submission(line: Line, *, limit_bytes: int, now: datetime) -> tuple[FetchSubmission, str] | BatchError:
    """What a line asks for and the host that it is asked of, or why it is refused."""
    if line.content is None:
        return refuse_line(line.number, ProblemType.BODY_TOO_LARGE, f"A line may have {limit_bytes} bytes at most.")
    try:
        submission = _read(line.content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=True)
        if any(fault["type"] == "json_invalid" for fault in faults):
            return refuse_line(line.number, ProblemType.MALFORMED_JSON, "The line is not JSON.")
        return _refuse_members(line.number, member_faults({**fault, "loc": ("body", *fault["loc"])} for fault in faults))
    except ValueError:
        return refuse_line(line.number, ProblemType.MALFORMED_JSON, NOT_A_FETCH)
    if times := time_faults(submission, now=now):
        return _refuse_members(line.number, [{"detail": detail, "pointer": f"#/{member}"} for member, detail in times])
    target = read_url(submission.url)
    if isinstance(target, UrlRefusal):
        return refuse_line(line.number, ProblemType.INVALID_REQUEST, target.detail)
    return submission, target.host


def refuse_line(
    number: int, type: ProblemType, detail: str, errors: Sequence[Mapping[str, str]] = ()
) -> BatchError:
    """The error of a line, with its problem."""
    trace_id = current_trace_id()
    return BatchError(line=number, problem=problem_document(type, detail, instance=INSTANCE, trace_id=trace_id, errors=errors))


def _read(content: bytes) -> FetchSubmission:
    """Raises ValidationError, which is a ValueError, and ValueError."""
    if content.startswith(b"{"):
        return FetchSubmission.model_validate_json(content)
    url = from_json(content) if content.startswith((b'"', b"[")) else content.decode()
    if not isinstance(url, str):
        raise ValueError(NOT_A_FETCH)
    return FetchSubmission(url=url)


def _refuse_members(number: int, errors: Sequence[Mapping[str, str]]) -> BatchError:
    errors = [{name: text[:ERROR_LIMIT_CHARACTERS] for name, text in error.items()} for error in errors[:ERRORS_OF_LINE]]
    return refuse_line(number, ProblemType.INVALID_REQUEST, "The line must be corrected where `errors` says.", errors)
