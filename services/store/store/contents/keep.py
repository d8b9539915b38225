"""Keep bodies under their digest, whoever fetched them. Idempotent: a known body costs nothing.

Whoever refers to a content holds it until its transaction ends, since what nothing refers to is pruned
(`maintenance/content_pruner.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from store.database import Connection
from store.queries import query

INSERT = query("contents_insert")
HOLD = query("contents_hold")
RENEW = query("contents_renew")

CONTENT_GRACE_SECONDS = 3600.0
"""How long a content that nothing refers to is kept after it was handed in: its outcome is still on its way."""
RENEW_SECONDS = CONTENT_GRACE_SECONDS / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A body as stored: zstd bytes, the size they decode to, and how often it was handed in at once."""

    size_bytes: int
    body: bytes
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How many bodies were handed in, and their decoded bytes; and how many of those were new to the store."""

    bodies: int = 0
    size_bytes: int = 0
    new_bodies: int = 0
    new_size_bytes: int = 0


async def keep_contents(connection: Connection, contents: Mapping[bytes, Content], *, now: datetime | None) -> Kept:
    """Store bodies by digest, in the caller's transaction, and hold them. The caller vouches for the digests."""
    new = await _insert(connection, contents, now=now)
    known = contents.keys() - new
    pruned = known - await hold_contents(connection, sorted(known))  # between the two; what is inserted now is too young for it
    new |= await _insert(connection, {digest: contents[digest] for digest in pruned}, now=now)
    return Kept(
        bodies=sum(content.copies for content in contents.values()),
        size_bytes=sum(content.copies * content.size_bytes for content in contents.values()),
        new_bodies=len(new),
        new_size_bytes=sum(contents[digest].size_bytes for digest in new),
    )


async def hold_contents(connection: Connection, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Which of these digests are stored; they stay so until the caller's transaction ends, which may refer to them."""
    if not digests:
        return frozenset()
    return frozenset(row["digest"] for row in await connection.fetch(HOLD, list(digests)))


async def renew_content(connection: Connection, digest: bytes, *, now: datetime | None) -> None:
    """Start the grace of a content anew: whoever handed it in refers to it in a later transaction."""
    await connection.execute(RENEW, digest, RENEW_SECONDS, now)


async def _insert(connection: Connection, contents: Mapping[bytes, Content], *, now: datetime | None) -> frozenset[bytes]:
    """Those that are new."""
    if not contents:
        return frozenset()
    rows = await connection.fetch(
        INSERT,
        list(contents),
        [content.size_bytes for content in contents.values()],
        [content.body for content in contents.values()],
        now,
    )
    return frozenset(row["digest"] for row in rows)
