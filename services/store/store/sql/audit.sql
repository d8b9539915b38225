-- What was refused, for operators. Nothing here is ever changed or deleted by the store.

-- name: history_rows
-- About how many rows there are in what only the owner prunes (docs/states.md), as Postgres counts what is done to tables.
SELECT relname::text AS name, n_live_tup AS rows
FROM pg_stat_user_tables
WHERE schemaname = current_schema
  AND relname IN ('audit_log', 'operator_log', 'attempts', 'batches');

-- name: database_sizes
-- Bytes of the database (no name), and of each of these tables that there is, with its indexes and long values.
SELECT NULL AS name, pg_database_size(current_database()) AS bytes
UNION ALL
SELECT name, pg_total_relation_size(to_regclass(name))
FROM unnest($1::text[]) AS given (name)
WHERE to_regclass(name) IS NOT NULL;

-- name: audit_insert
-- Note refused targets, with the addresses that are shown to nobody (comma-separated here).
INSERT INTO audit_log (at, fetch_id, attempt, host, verdict, addresses, peer)
SELECT at, fetch_id, attempt, host, verdict, string_to_array(addresses, ','), peer
FROM unnest($1::timestamptz[], $2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS given (at, fetch_id, attempt, host, verdict, addresses, peer);

-- name: operator_log_insert
-- Note what an operator did, in the transaction that does it.
INSERT INTO operator_log (at, actor, action, subject, detail)
VALUES (coalesce($5::timestamptz, now()), $1::text, $2::text, $3::text, $4::jsonb);

-- name: operator_log_page
-- What operators did, the newest first.
SELECT id, at, actor, action, subject, detail
FROM operator_log
WHERE id < $1::bigint
ORDER BY id DESC
LIMIT $2::bigint;

-- name: audit_page
-- Refused targets, the newest first.
SELECT id, at, fetch_id, attempt, host, verdict, addresses, peer
FROM audit_log
WHERE id < $1::bigint
ORDER BY id DESC
LIMIT $2::bigint;
