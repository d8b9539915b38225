"""Take in a body too large for a stream entry: check that it is what its digest says, then keep it."""

import asyncio
import hashlib

import zstandard

from store.contents.digests import digest_bytes
from store.contents.keep import Content, Kept, keep_contents, renew_content
from store.database import Connection, Pool, in_transaction
from store.errors import DataRefused

CHUNK_BYTES = 256 * 1024


async def upload_content(pool: Pool, digest: str, body: bytes, *, size_bytes: int) -> Kept:
    """Store zstd bytes under the digest of what they decode to; idempotent.

    Raises DataRefused when they decode to something else, and DatabaseUnavailable.
    """
    await asyncio.to_thread(_check, body, digest=digest, size_bytes=size_bytes)

    async def keep(connection: Connection) -> Kept:
        kept = await keep_contents(connection, {digest_bytes(digest): Content(size_bytes=size_bytes, body=body)}, now=None)
        await renew_content(connection, digest_bytes(digest), now=None)
        return kept

    return await in_transaction(pool, keep)


def _check(body: bytes, *, digest: str, size_bytes: int) -> None:
    hasher, decoded_bytes = hashlib.sha256(), 0
    try:
        for chunk in zstandard.ZstdDecompressor().read_to_iter(body, write_size=CHUNK_BYTES):
            hasher.update(chunk)
            decoded_bytes += len(chunk)
            if decoded_bytes > size_bytes:
                raise DataRefused("the body decodes to more bytes than it declares")
    except zstandard.ZstdError as error:
        raise DataRefused("the body is not valid zstd") from error
    if decoded_bytes != size_bytes or hasher.digest() != digest_bytes(digest):
        raise DataRefused("the body does not match its digest and size")
