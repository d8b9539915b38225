"""The plans of the hot statements at size: rows are looked up by key, whatever the planner believes about statistics."""

import re

import pytest
from store.database import Connection, Pool, open_pool
from store.queries import query

ROWS = 40_000
FILL_TIMEOUT_SECONDS = 60
HOT = [
    "fetches_accept",
    "queue_enqueue",
    "fetches_finish",
    "fetches_read",
    "attempts_insert",
    "hosts_open",
    "hosts_lock",
    "hosts_expect",
    "hosts_settle",
    "hosts_next_look",
    "hosts_overlooked",
    "hosts_forget",
    "queue_claim",
    "queue_lock_pending",
    "queue_retry",
    "queue_release",
    "queue_again",
    "queue_snooze",
    "queue_find_abandoned",
    "queue_find_expired",
    "queue_find_banned",
    "queue_find_unreached",
    "queue_lock",
    "queue_running",
    "outbox_depth",
    "fetches_refuse",
    "hosts_override",
    "hosts_refusing",
    "hosts_one",
    "hosts_named",
    "hosts_page",
    "hosts_page_open",
    "hosts_page_closed",
    "hosts_load",
    "hosts_closed",
    "dead_letters_insert",
    "dead_letters_page",
    "dead_letters_one",
    "dead_letters_redriven",
    "reuse_lock_leaders",
    "reuse_newest",
    "reuse_stored",
    "followers_lock",
    "followers_release",
    "followers_promote",
    "finished_leaders_insert",
    "finished_leaders_lock",
    "finished_leaders_delete",
    "robots_read",
    "robots_read_several",
    "robots_keep",
    "audit_insert",
    "audit_page",
    "operator_log_page",
    "keys_insert",
    "keys_write",
    "keys_one",
    "keys_changed",
    "keys_latest",
    "keys_page",
    "keys_page_of_tenant",
    "keys_used",
    "contents_insert",
    "contents_of_fetch",
    "fetches_request",
    "fetches_page",
    "fetches_page_of_batch",
    "fetches_page_of_label",
    "fetches_page_of_host",
    "fetches_page_running",
    "fetches_page_queued",
    "fetches_page_without_response",
    "batches_keep",
    "batches_read",
    "key_totals",
    "contents_hold",
    "contents_renew",
    "fetches_prune",
    "batches_prune",
    "batch_counts_prune",
    "dead_letters_prune",
    "contents_unused",
    "contents_lock",
    "contents_prune",
    "traffic_now",
    "traffic_keep",
    "traffic_since",
    "traffic_prune",
    "traffic_hosts",
    "traffic_hosts_sampled",
    "traffic_failures",
]
TABLES = (
    "fetches|fetch_queue|hosts|attempts|contents|finished_leaders|robots_files|audit_log|operator_log|dead_letters|fetch_labels|"
    "batches|batch_counts|key_counts|api_keys|outbox|traffic_samples"
)
WHOLE_TABLE = re.compile(rf"Seq Scan on ({TABLES})\b|Hash Join|Merge Join|Bitmap Heap Scan")
FIRST_OF_A_HOST = re.compile(r"Limit .*\n *->  Index Scan using fetch_queue_of_host on fetch_queue\b")
INDEXED = [
    ("hosts_open", "hosts_to_look_at"),
    ("hosts_next_look", "hosts_to_look_at"),
    ("hosts_settle", "fetch_queue_of_host"),
    ("hosts_forget", "hosts_to_look_at"),
    ("hosts_overlooked", "fetch_queue_of_host"),
    ("hosts_open", "fetch_queue_slots"),
    ("queue_claim", "fetch_queue_line"),
    ("queue_claim", "fetch_queue_later"),
    ("queue_claim", "fetches_reusable"),
    ("queue_find_abandoned", "fetch_queue_slots"),
    ("queue_find_expired", "fetch_queue_expiring"),
    ("queue_find_banned", "fetch_queue_line"),
    ("queue_find_banned", "fetch_queue_later"),
    ("queue_find_unreached", "fetch_queue_of_host"),
    ("queue_running", "fetch_queue_slots"),
    ("outbox_depth", "outbox_pkey"),
    ("hosts_refusing", "hosts_refusing"),
    ("hosts_page_closed", "hosts_overridden"),
    ("hosts_closed", "hosts_overridden"),
    ("hosts_closed", "hosts_refusing"),
    ("hosts_load", "fetch_queue_slots"),
    ("hosts_load", "fetch_queue_of_host"),
    ("dead_letters_page", "dead_letters_pkey"),
    ("reuse_lock_leaders", "fetch_queue_leaders"),
    ("reuse_newest", "fetches_reusable"),
    ("followers_lock", "fetch_queue_followers"),
    ("followers_promote", "fetch_queue_followers_due"),
    ("finished_leaders_insert", "fetch_queue_followers"),
    ("finished_leaders_delete", "fetch_queue_followers"),
    ("fetches_page", "fetches_of_tenant"),
    ("fetches_page_of_batch", "fetches_of_batch"),
    ("fetches_page_of_label", "fetch_labels_pkey"),
    ("fetches_page_of_host", "fetches_of_host"),
    ("fetches_page_running", "fetch_queue_slots"),
    ("fetches_page_queued", "fetches_pending"),
    ("fetches_page_without_response", "fetches_without_response"),
    ("batches_read", "fetch_queue_slots"),
    ("key_totals", "api_keys_queue_limited"),
    ("key_totals", "key_counts_pkey"),
    ("keys_changed", "api_keys_changed"),
    ("keys_page_of_tenant", "api_keys_of_tenant"),
    ("operator_log_page", "operator_log_pkey"),
    ("audit_page", "audit_log_pkey"),
    ("fetches_prune", "fetches_pkey"),
    ("batches_prune", "fetches_of_batch"),
    ("contents_unused", "fetches_of_content"),
    ("contents_prune", "fetches_of_content"),
    ("dead_letters_prune", "dead_letters_pkey"),
    ("traffic_now", "fetch_queue_slots"),
    ("traffic_now", "fetch_queue_due"),
    ("traffic_since", "traffic_samples_pkey"),
    ("traffic_prune", "traffic_samples_pkey"),
    ("traffic_hosts", "fetch_queue_of_host"),
    ("traffic_failures", "fetches_failed"),
]

FILL = f"""
INSERT INTO fetches (id, host, request, accepted_at, ingested_at)
SELECT gen_random_uuid(), 'h' || n % 50, '{{"url": "http://a.test/", "retries": {{"max": 2}}}}', now(), now()
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO fetch_queue (id, host, run_at, waiting, timeout_seconds)
SELECT id, host, now() - interval '1 minute', 'queue', 30
FROM fetches;
INSERT INTO hosts (host, look_at)
SELECT 'h' || n, now()
FROM generate_series(0, 49) AS n;
UPDATE fetch_queue
SET coalesce_key = sha256(('k' || mod(abs(hashtext(id::text)), 1000))::bytea),
    leader_id = CASE WHEN hashtext(id::text) % 3 = 0 THEN gen_random_uuid() END;
UPDATE fetches
SET status = 'succeeded', finished_at = now(), fetched_at = now(), response_status = 200,
    sharing_key = sha256(('k' || mod(abs(hashtext(id::text)), 1000))::bytea);
INSERT INTO attempts (fetch_id, number, worker, outcome, started_at, finished_at, evidence)
SELECT id, 1, 'w', 'fetched', now(), now(), '{{}}'
FROM fetches;
"""  # noqa: S608


@pytest.fixture
async def large(pool: Pool) -> Pool:
    """Many rows, and no statistics about them."""
    async with pool.acquire() as connection:
        await connection.execute("ALTER TABLE fetches SET (autovacuum_enabled = false)")
        await connection.execute(FILL, timeout=FILL_TIMEOUT_SECONDS)
    return pool


async def plan_of(connection: Connection, name: str) -> str:
    """The generic plan of a statement: the one that Postgres settles on after a few executions."""
    await connection.execute(f"PREPARE looked_at AS {query(name)}")
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    row = await connection.fetchrow("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'looked_at'")
    arguments = f"({', '.join(['NULL'] * row[0])})" if row[0] else ""
    rows = await connection.fetch(f"EXPLAIN EXECUTE looked_at {arguments}")
    await connection.execute("DEALLOCATE looked_at")
    return "\n".join(line[0] for line in rows)


async def test_no_hot_statement_reads_a_whole_table(large: Pool) -> None:
    async with large.acquire() as connection, connection.transaction():
        for name in HOT:
            plan = await plan_of(connection, name)
            assert not WHOLE_TABLE.search(plan), f"{name}:\n{plan}"


async def test_what_reuse_looks_for_has_its_index(large: Pool) -> None:
    async with large.acquire() as connection, connection.transaction():
        for name, index in INDEXED:
            plan = await plan_of(connection, name)
            assert index in plan, f"{name}:\n{plan}"


async def test_of_a_hosts_queue_only_the_first_is_read(large: Pool) -> None:
    """A host may have a million of them, and is settled with each set of outcomes."""
    async with large.acquire() as connection, connection.transaction():
        for name in ("hosts_settle", "hosts_overlooked"):
            plan = await plan_of(connection, name)
            assert FIRST_OF_A_HOST.search(plan), f"{name}:\n{plan}"


async def test_without_our_planner_settings_the_check_would_fail(large: Pool) -> None:
    """The negative control: the same look at a default connection finds the plans that cost a factor of five."""
    async with large.acquire() as connection, connection.transaction():
        for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"):
            await connection.execute(f"SET LOCAL {setting} = on")
        plans = [await plan_of(connection, name) for name in HOT]
    assert any(WHOLE_TABLE.search(plan) for plan in plans)


async def test_fetches_are_found_by_id_also_when_statistics_know_of_none_that_is_queued(large: Pool) -> None:
    """The index of the queued ones looks empty then, and as cheap to read whole as to look one up elsewhere."""
    async with large.acquire() as connection, connection.transaction():
        await connection.execute("ANALYZE fetches")
        plans = {name: await plan_of(connection, name) for name in HOT}
    assert [name for name, plan in plans.items() if "fetches_pending" in plan] == ["fetches_page_queued"]
    assert re.search(r"fetches_pkey on fetches .*\n *Index Cond", plans["fetches_finish"]), plans["fetches_finish"]


async def test_a_plan_that_was_made_for_an_empty_queue_is_not_kept_when_it_fills(pool: Pool, database_url: str) -> None:
    """Nothing looks at the tables in between: vacuum has said that they are empty, and autovacuum is off."""
    await pool.execute("VACUUM (ANALYZE) fetches, fetch_queue, hosts")
    await pool.execute("ALTER TABLE fetch_queue SET (autovacuum_enabled = false)")
    explain = f"EXPLAIN EXECUTE claim ({', '.join(['NULL'] * 10)})"
    plans = []
    async with open_pool(database_url, size=1, plans_seconds=0) as sessions:
        await sessions.execute(f"PREPARE claim AS {query('queue_claim')}")
        async with sessions.acquire() as connection:
            plans.append(await connection.fetch(explain))
            await connection.execute(FILL, timeout=FILL_TIMEOUT_SECONDS)
            plans.append(await connection.fetch(explain))
        plans.append(await sessions.fetch(explain))
    by_key = re.compile(r"fetch_queue_pkey on fetch_queue queue.*\n *Index Cond")
    assert [bool(by_key.search("\n".join(row[0] for row in plan))) for plan in plans] == [False, False, True]
