"""Named SQL statements, read once from `sql/*.sql`. A name that is not there fails at import."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
NOT_STATEMENTS = "schema.sql"


def _statements(file: Traversable) -> Iterator[tuple[str, str]]:
    parts = _NAME.split(file.read_text(encoding="utf-8"))
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        yield name, f"-- {name}\n{text.strip()}"


def _load() -> Mapping[str, str]:
    statements: dict[str, str] = {}
    for file in sorted(files("store.sql").iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql") or file.name == NOT_STATEMENTS:
            continue
        for name, text in _statements(file):
            if name in statements:
                raise ValueError(f"two statements are named {name}")
            statements[name] = text
    return statements


_STATEMENTS = _load()


def query(name: str) -> str:
    """The statement of that name. Raises KeyError when there is none; call it at module level."""
    return _STATEMENTS[name]


def names() -> frozenset[str]:
    """The names of all statements."""
    return frozenset(_STATEMENTS)
