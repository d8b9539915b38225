"""How long a backup and a restore take on this machine, by number of finished fetches: `make bench-restore`.

One page is really fetched. Its rows are multiplied in Postgres, each time with a content of its own that does not compress, since
fetching so many would take longer than everything that is measured.
"""

import argparse
import asyncio
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx2
import psutil
from fetchwork_local.backup import take_backup
from fetchwork_local.postgres import database_url
from fetchwork_local.restore import restore_backup
from fetchwork_local.stack import Stack
from fetchwork_local.state import recall

MEBIBYTE = 1024 * 1024
DIGEST_BYTES = 32
FILL_TIMEOUT_SECONDS = 3600

MULTIPLY = """
CREATE TEMPORARY TABLE copies AS
SELECT uuidv7() AS id, body, sha256(body) AS digest
FROM (
    SELECT n, string_agg(sha256((n || '-' || part)::bytea), '') AS body
    FROM generate_series(1, $1) AS n
    CROSS JOIN generate_series(1, $2) AS part
    GROUP BY n
) AS made;
"""
ROWS = [
    "INSERT INTO contents SELECT digest, $1, octet_length(body), body, now() FROM copies",
    """
    INSERT INTO fetches (id, host, request, status, accepted_at, ingested_at, finished_at, response_status, response_headers,
                         media_type, final_url, content_digest, fetched_at)
    SELECT copies.id, host, request, status, accepted_at, ingested_at, finished_at, response_status, response_headers, media_type,
           final_url, copies.digest, fetched_at
    FROM copies
    CROSS JOIN (SELECT * FROM fetches WHERE status = 'succeeded' LIMIT 1) AS fetched
    """,
    """
    INSERT INTO attempts
    SELECT copies.id, number, worker, outcome, error_type, response_status, started_at, finished_at, evidence
    FROM copies
    CROSS JOIN (SELECT * FROM attempts LIMIT 1) AS made
    """,
    """
    INSERT INTO fetch_counts
    SELECT 999, name, (SELECT count(*) FROM copies)
    FROM unnest(ARRAY['accepted', 'succeeded']) AS name
    """,
]


async def _multiply(stack: Stack, *, fetches: int, body_bytes: int) -> None:
    state = recall(stack.home)
    assert state is not None
    connection = await asyncpg.connect(
        database_url(port=state.ports.postgres, password=state.secrets.postgres_password), command_timeout=FILL_TIMEOUT_SECONDS
    )
    parts = max(1, body_bytes // DIGEST_BYTES)
    await connection.execute(MULTIPLY.replace("$1", str(fetches)).replace("$2", str(parts)))
    await connection.execute(ROWS[0].replace("$1", str(parts * DIGEST_BYTES)))
    for statement in ROWS[1:]:
        await connection.execute(statement)
    await connection.close()


async def _count(stack: Stack) -> tuple[int, int]:
    """Fetches and contents in the ledger."""
    state = recall(stack.home)
    assert state is not None
    connection = await asyncpg.connect(database_url(port=state.ports.postgres, password=state.secrets.postgres_password))
    row = await connection.fetchrow("SELECT (SELECT count(*) FROM fetches), (SELECT count(*) FROM contents)")
    await connection.close()
    return row[0], row[1]


def _timed(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def measure(folder: Path, *, fetches: int, body_bytes: int) -> None:
    """Fill, back up, destroy, restore, start; print what each took."""
    stack, backup = Stack(folder / "home"), folder / "backup"
    stack.start()
    try:
        asyncio.run(_multiply(stack, fetches=fetches, body_bytes=body_bytes))
        before = asyncio.run(_count(stack))
        backup_seconds = _timed(lambda: take_backup(stack.home, backup))
    finally:
        stack.stop()
    sizes = {path.name: path.stat().st_size / MEBIBYTE for path in backup.iterdir()}
    shutil.rmtree(stack.home.folder)
    restore_seconds = _timed(lambda: restore_backup(stack.home, backup))
    stack = Stack(folder / "home")
    up_seconds = _timed(stack.start)
    try:
        status, after = stack.status(), asyncio.run(_count(stack))
        assert before[0] <= after[0] and before[1] <= after[1], (before, after)
        headers = {"Authorization": f"Bearer {status.api_key}"}
        page = httpx2.get(f"{status.gateway}/v1/fetches?limit=1", headers=headers, trust_env=False)
        page.raise_for_status()
    finally:
        stack.stop()
    print(f"machine: {platform.platform()}, {psutil.cpu_count()} CPUs, {psutil.virtual_memory().total / MEBIBYTE / 1024:.1f} GiB")
    print(f"fetches: {before[0]}, with contents of {body_bytes} bytes")
    print(f"backup: {backup_seconds:.1f} s")
    print(f"sizes: postgres.dump {sizes['postgres.dump']:.0f} MiB, events.rdb {sizes['events.rdb']:.1f} MiB")
    print(f"restore: {restore_seconds:.1f} s, and {up_seconds:.1f} s until it serves")


def main() -> None:
    """Measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fetches", type=int, default=100_000)
    parser.add_argument("--body-bytes", type=int, default=4096)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fetchwork-restore-") as folder:
        measure(Path(folder), fetches=options.fetches, body_bytes=options.body_bytes)


if __name__ == "__main__":
    main()
