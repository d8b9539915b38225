"""Whole numbers: JSON has one kind of number, so that 3.0 is taken for 3 wherever an integer is asked for; nothing else is."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway.access.key_models import KeySubmission
from gateway.firecrawl.submissions import ScrapeSubmission
from gateway.models import FetchSubmission
from gateway.operator_models import HostChangeSubmission

TAKEN: list[tuple[type[BaseModel], str]] = [
    (FetchSubmission, '{"url": "http://a.test/", "priority": %s}'),
    (FetchSubmission, '{"url": "http://a.test/", "max_bytes": %s}'),
    (FetchSubmission, '{"url": "http://a.test/", "retries": {"max": %s}}'),
    (HostChangeSubmission, '{"delay_ms": %s}'),
    (HostChangeSubmission, '{"max_in_flight": %s}'),
    (KeySubmission, '{"name": "x", "limits": {"requests_per_minute": %s}}'),
    (ScrapeSubmission, '{"url": "a.test", "formats": ["html"], "maxAge": %s}'),
]


@pytest.mark.parametrize(("model", "body"), TAKEN)
def test_a_number_without_a_fraction_is_an_integer(model: type[BaseModel], body: str) -> None:
    assert model.model_validate_json(body % "3.0") == model.model_validate_json(body % "3")


@pytest.mark.parametrize("given", ["3.5", "true", '"3"', "1e400", "[3]"])
@pytest.mark.parametrize(("model", "body"), TAKEN)
def test_nothing_else_is(model: type[BaseModel], body: str, given: str) -> None:
    with pytest.raises(ValidationError):
        model.model_validate_json(body % given)


@pytest.mark.parametrize(("name", "given", "is_taken"), [
    ("mobile", False, True), ("mobile", 0, False), ("waitFor", 0, True), ("waitFor", False, False), ("blockAds", 1, False),
    ("storeInCache", None, True), ("colour", None, True),
])  # fmt: skip
def test_false_is_not_zero(name: str, given: Any, is_taken: bool) -> None:
    submission = {"url": "a.test", "formats": ["html"], name: given}
    if is_taken:
        ScrapeSubmission.model_validate(submission)
    else:
        with pytest.raises(ValidationError, match=name):
            ScrapeSubmission.model_validate(submission)
