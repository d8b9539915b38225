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
    """A body as stored: zstd bytes, and the size they decode to."""

    size_bytes: int
    body: bytes


async def keep_contents(connection: Connection, contents: Mapping[bytes, Content], *, now: datetime | None) -> None:
    """Store bodies by digest, in the caller's transaction. The caller vouches for the digests."""
    if contents:
        await connection.execute(
            INSERT,
            list(contents),
            [content.size_bytes for content in contents.values()],
            [content.body for content in contents.values()],
            now,
        )


async def known_digests(connection: Connection, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Which of these digests are stored."""
    if not digests:
        return frozenset()
    return frozenset(row["digest"] for row in await connection.fetch(KNOWN, list(digests)))
