"""A ledger that holds many finished fetches: rows really fetched, multiplied in Postgres, each with a content of its own.

Contents are a few bytes each, which is no cheaper to look up than large ones; that many pages would fill the disk.
"""

import asyncio

from fetchwork_local.stack import Stack

from contest.stack_run import ledger_of

FILL_TIMEOUT_SECONDS = 600
CHUNK = 100_000
ROWS = (
    # made long ago, in the order of their ids (RFC 9562 section 5.7: the first 48 bits are milliseconds)
    """
    CREATE TEMPORARY TABLE made AS
    SELECT (lpad(to_hex(1700000000000 + n * 7), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 5, 15))::uuid AS id,
           sha256(n::text::bytea) AS digest, n
    FROM generate_series($1::bigint, $2::bigint) AS n
    """,
    "INSERT INTO contents SELECT digest, 12, 12, substr(digest, 1, 12), now() FROM made",
    """
    INSERT INTO fetches (id, host, request, status, accepted_at, ingested_at, finished_at, response_status, response_headers,
                         media_type, final_url, content_digest, fetched_at, charset, charset_source, detected_media_type)
    SELECT made.id, 'h' || made.n % 5000 || '.test', request, status, accepted_at, ingested_at, finished_at, response_status,
           response_headers, media_type, final_url, made.digest, fetched_at, charset, charset_source, detected_media_type
    FROM made CROSS JOIN (SELECT * FROM fetches WHERE status = 'succeeded' AND batch_id IS NOT NULL LIMIT 1) AS fetched
    """,
    """
    INSERT INTO attempts
    SELECT made.id, number, worker, outcome, error_type, response_status, started_at, finished_at, evidence
    FROM made CROSS JOIN (SELECT attempts.* FROM attempts JOIN fetches ON fetches.id = fetch_id
                          WHERE batch_id IS NOT NULL AND attempts.response_status = 200 LIMIT 1) AS attempted
    """,
    "DROP TABLE made",
)


def fill(stack: Stack, rows: int) -> None:
    """Multiply what the stack has fetched until so many rows more are stored, and have Postgres know its tables."""
    asyncio.run(_fill(stack, rows))


async def _fill(stack: Stack, rows: int) -> None:
    async with ledger_of(stack) as ledger:
        for first in range(1, rows + 1, CHUNK):
            last = min(first + CHUNK - 1, rows)
            for statement in ROWS:
                text = statement.replace("$1::bigint", str(first)).replace("$2::bigint", str(last))
                await ledger.execute(text, timeout=FILL_TIMEOUT_SECONDS)
        await ledger.execute("VACUUM (ANALYZE) fetches, attempts, contents", timeout=FILL_TIMEOUT_SECONDS)
        await ledger.execute("CHECKPOINT", timeout=FILL_TIMEOUT_SECONDS)
