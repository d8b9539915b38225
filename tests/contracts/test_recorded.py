"""Events recorded from earlier releases are read by today's code, every field of them. Never edit a recording; add one."""

import json
from pathlib import Path

import pytest
from common.contracts.catalog import COMMANDS, EVENTS
from common.contracts.envelope import Envelope

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))
MODELS = EVENTS | COMMANDS


@pytest.mark.parametrize("path", RECORDED, ids=[path.stem for path in RECORDED])
def test_a_recorded_message_is_read_whole(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    envelope = Envelope[MODELS[document["type"]]].model_validate(document)  # type: ignore[misc]
    again = json.loads(envelope.model_dump_json(exclude_none=True))
    assert _is_part(document, again)


def test_every_type_has_a_recording() -> None:
    assert {json.loads(path.read_text(encoding="utf-8"))["type"] for path in RECORDED} == set(MODELS)


def _is_part(old: object, new: object) -> bool:
    """Everything that the recording says is still said; today's code may say more."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and _is_part(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_part, old, new))
    return old == new
