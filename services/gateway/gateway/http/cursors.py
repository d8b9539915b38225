"""Cursors of lists: opaque text that says where a page ended and of which list, so that it fits no other.

Not secret and not signed: what it holds the caller was shown, and the store takes any position.
"""

import base64
import json
from urllib.parse import urlencode
from uuid import UUID

from gateway.problems.answers import Problem, ProblemType

CURSOR_LIMIT_CHARACTERS = 1000
LIMIT_DEFAULT = 50
LIMIT_MAX = 200


def write_cursor(after: str, *, of: str) -> str:
    """The cursor of the page behind `after` in the list `of`: its name and its filters."""
    return base64.urlsafe_b64encode(json.dumps([of, after]).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, *, of: str) -> str | None:
    """Where the page before ended, None for the first page. Raises the problem cursor-mismatch for anything but our own."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        members = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, list) or len(members) != 2 or members[0] != of or not _is_position(members[1]):
        raise _mismatch()
    return str(members[1])


def read_id_cursor(cursor: str | None, *, of: str) -> UUID | None:
    """The same for a list in which a page ends at an id."""
    position = read_cursor(cursor, of=of)
    try:
        return UUID(position) if position is not None else None
    except ValueError as error:
        raise _mismatch() from error


def next_link(path: str, *, cursor: str, limit: int, filters: dict[str, str | None] | None = None) -> str:
    """The value of `Link` that leads to the next page (RFC 8288 section 3.3)."""
    given = {name: value for name, value in (filters or {}).items() if value is not None}
    return f'<{path}?{urlencode({**given, "limit": limit, "cursor": cursor})}>; rel="next"'


def _mismatch() -> Problem:
    return Problem(ProblemType.CURSOR_MISMATCH, "Give a `next_cursor` of this list as it came, with the filters it came with.")


def _is_position(given: object) -> bool:
    """What the store takes as a text: a short one that can be printed."""
    return isinstance(given, str) and 0 < len(given) <= CURSOR_LIMIT_CHARACTERS and given.isascii() and given.isprintable()
