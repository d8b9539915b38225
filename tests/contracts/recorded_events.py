"""Recorded events and commands: what travelled over the streams and the broker at some earlier release."""

import json
from pathlib import Path
from typing import Any

from common.contracts.catalog import COMMANDS, EVENTS
from common.contracts.envelope import Envelope

FOLDER = Path(__file__).parent / "recorded"
MODELS = {**EVENTS, **COMMANDS}


def recorded_document(name: str) -> dict[str, Any]:
    """What was recorded, as plain values."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def recorded_event(name: str) -> Envelope[Any]:
    """The same, read as a service reads it."""
    document = recorded_document(name)
    envelope: Any = Envelope
    read: Envelope[Any] = envelope[MODELS[document["type"]]].model_validate_json(json.dumps(document))
    return read
