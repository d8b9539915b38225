"""Text of strangers as Postgres takes it: neither `text` nor `jsonb` can hold a NUL, and one must not cost the whole event."""

import json
from typing import Any


def storable(text: str | None) -> str | None:
    """The text without NULs."""
    return text.replace("\0", "") if text is not None else None


def storable_json(text: str) -> str:
    """The JSON text without NULs in its strings and names. Costs a search of the text unless there may be one."""
    if "\\u0000" not in text:
        return text
    return json.dumps(_without_nul(json.loads(text)))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(member) for member in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(member) for name, member in value.items()}
    return value
