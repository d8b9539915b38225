"""Keep bodies under their digest, whoever fetched them. Idempotent: a known body costs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from store.database import Connection
from store.queries import query

INSERT = query("contents_insert")
KNOWN = query("contents_known")


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
    """Store bodies by digest, in the caller's transaction. The caller vouches for the digests."""
    if not contents:
        return Kept()
    rows = await connection.fetch(
        INSERT,
        list(contents),
        [content.size_bytes for content in contents.values()],
        [content.body for content in contents.values()],
        now,
    )
    return Kept(
        bodies=sum(content.copies for content in contents.values()),
        size_bytes=sum(content.copies * content.size_bytes for content in contents.values()),
        new_bodies=len(rows),
        new_size_bytes=sum(row["size_bytes"] for row in rows),
    )


async def known_digests(connection: Connection, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Which of these digests are stored."""
    if not digests:
        return frozenset()
    return frozenset(row["digest"] for row in await connection.fetch(KNOWN, list(digests)))
