-- The ledger: what was accepted and what became of it.

-- name: fetches_accept
-- New fetches enter the ledger, its lists and its counts; ids already known change nothing. Tells which were new.
WITH accepted AS (
    INSERT INTO fetches (id, host, request, traceparent, accepted_at, ingested_at, tenant, key_id, batch_id, labels, attrs)
    SELECT id, host, request, traceparent, accepted_at, coalesce($11::timestamptz, now()), tenant, key_id, batch_id,
           string_to_array(labels, ','), attrs
    FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::uuid[], $9::text[],
                $10::jsonb[])
        AS given (id, host, request, traceparent, accepted_at, tenant, key_id, batch_id, labels, attrs)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, tenant, key_id, labels
), labelled AS (
    INSERT INTO fetch_labels (tenant, label, fetch_id)
    SELECT tenant, label, id
    FROM accepted
    CROSS JOIN unnest(labels) AS label
), counted AS (
    INSERT INTO fetch_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, 'accepted', count(*)
    FROM accepted
    HAVING count(*) > 0
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
), counted_by_key AS (
    INSERT INTO key_counts AS counts (key_id, shard, name, fetches)
    SELECT key_id, pg_backend_pid() % 64, 'accepted', count(*)
    FROM accepted
    WHERE key_id IS NOT NULL
    GROUP BY key_id
    ORDER BY key_id
    ON CONFLICT (key_id, shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
)
SELECT id
FROM accepted;

-- name: fetches_refuse
-- A fetch that the database would not take as it came enters the ledger as failed, and never the queue; one that is known stays.
WITH refused AS (
    INSERT INTO fetches (id, host, request, traceparent, accepted_at, ingested_at, status, finished_at, error_type, error_detail,
                         tenant, key_id, batch_id)
    VALUES ($1::uuid, $2::text, $3::jsonb, $4::text, coalesce($5::timestamptz, $8::timestamptz, now()),
            coalesce($8::timestamptz, now()), 'failed', coalesce($8::timestamptz, now()), $6::text, $7::text, $9::text, $10::text,
            $11::uuid)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, status, finished_at, request ->> 'url' AS url, response_status, error_type, traceparent, tenant, key_id, batch_id,
              labels
), counted AS (
    INSERT INTO fetch_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, names.name, count(*)
    FROM refused
    CROSS JOIN (VALUES ('accepted'), ('failed')) AS names (name)
    GROUP BY names.name
    ORDER BY names.name
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
), counted_by_key AS (
    INSERT INTO key_counts AS counts (key_id, shard, name, fetches)
    SELECT key_id, pg_backend_pid() % 64, names.name, 1
    FROM refused
    CROSS JOIN (VALUES ('accepted'), ('finished')) AS names (name)
    WHERE key_id IS NOT NULL
    ORDER BY names.name
    ON CONFLICT (key_id, shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
), counted_by_batch AS (
    INSERT INTO batch_counts AS counts (batch_id, shard, name, fetches)
    SELECT batch_id, pg_backend_pid() % 64, status, 1
    FROM refused
    WHERE batch_id IS NOT NULL
    ON CONFLICT (batch_id, shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
)
SELECT id, status, finished_at, url, response_status, error_type, traceparent, tenant, batch_id, labels
FROM refused;

-- name: fetches_known
-- Which of these ids the ledger has, and their hosts.
SELECT id, host
FROM fetches
WHERE id = ANY($1::uuid[]);

-- name: fetches_finish
-- Fetches reach a terminal status, leave the queue and are counted. A fetch that already is terminal stays as it is. One that
-- may lead others is told apart. No clock of a worker runs ahead of ours.
WITH given AS (
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::jsonb[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::text[], $13::text[], $14::jsonb[], $15::timestamptz[], $16::bytea[], $17::text[],
                $18::uuid[], $19::float8[])
        AS given (id, status, response_status, response_headers, media_type, final_url, content_digest, error_type, error_detail,
                  detected_media_type, charset, charset_source, coding, redirects, fetched_at, sharing_key, served_by_kind,
                  served_by_id, served_by_age_seconds)
), finished AS (
    UPDATE fetches
    SET status = given.status,
        finished_at = coalesce($20::timestamptz, now()),
        response_status = given.response_status,
        response_headers = given.response_headers,
        media_type = given.media_type,
        final_url = given.final_url,
        content_digest = given.content_digest,
        error_type = given.error_type,
        error_detail = given.error_detail,
        detected_media_type = given.detected_media_type,
        charset = given.charset,
        charset_source = given.charset_source,
        coding = given.coding,
        redirects = given.redirects,
        fetched_at = least(given.fetched_at, coalesce($20::timestamptz, now())),
        sharing_key = given.sharing_key,
        served_by_kind = given.served_by_kind,
        served_by_id = given.served_by_id,
        served_by_age_seconds = given.served_by_age_seconds
    FROM given
    WHERE fetches.id = given.id
      AND fetches.status = 'queued'
    RETURNING fetches.id, fetches.status, fetches.finished_at, fetches.request ->> 'url' AS url,
              fetches.response_status, fetches.error_type, fetches.traceparent, fetches.tenant, fetches.key_id, fetches.batch_id,
              fetches.labels
), left_queue AS (
    DELETE FROM fetch_queue
    USING finished
    WHERE fetch_queue.id = finished.id
    RETURNING fetch_queue.id, fetch_queue.coalesce_key IS NOT NULL AND fetch_queue.leader_id IS NULL AS may_lead
), counted AS (
    INSERT INTO fetch_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, status, count(*)
    FROM finished
    GROUP BY status
    ORDER BY status
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
), counted_by_key AS (
    INSERT INTO key_counts AS counts (key_id, shard, name, fetches)
    SELECT key_id, pg_backend_pid() % 64, 'finished', count(*)
    FROM finished
    WHERE key_id IS NOT NULL
    GROUP BY key_id
    ORDER BY key_id
    ON CONFLICT (key_id, shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
), counted_by_batch AS (
    INSERT INTO batch_counts AS counts (batch_id, shard, name, fetches)
    SELECT batch_id, pg_backend_pid() % 64, status, count(*)
    FROM finished
    WHERE batch_id IS NOT NULL
    GROUP BY batch_id, status
    ORDER BY batch_id, status
    ON CONFLICT (batch_id, shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
)
SELECT id, status, finished_at, url, response_status, error_type, traceparent, tenant, batch_id, labels,
       id = ANY(ARRAY(SELECT left_queue.id FROM left_queue WHERE may_lead)) AS may_lead
FROM finished;

-- name: fetches_read
-- Fetches and their attempts as a reader sees them, the newest first; a queue row, while there is one, knows whether its fetch runs
-- and what it waits for, and its host whether that is closed. Of one tenant, or with no tenant given of any.
SELECT fetches.id, fetches.request ->> 'url' AS url, fetches.request ->> 'method' AS method,
       CASE
           WHEN queue.state = 'running' AND queue.run_at > coalesce($2::timestamptz, now()) THEN 'running'
           ELSE fetches.status
       END AS status,
       fetches.accepted_at, fetches.finished_at, queue.run_at,
       CASE WHEN queue.leader_id IS NOT NULL AND queue.state = 'queued' THEN 'coalesced' ELSE queue.waiting END AS waiting,
       queue.run_at > coalesce($2::timestamptz, now()) AS is_later,
       coalesce((fetches.request ->> 'priority')::integer, 5) AS priority,
       (fetches.request ->> 'expires_at')::timestamptz AS expires_at,
       coalesce($2::timestamptz, now()) AS now, hosts.*, fetches.host,
       fetches.response_status, fetches.response_headers, fetches.media_type, fetches.final_url, fetches.content_digest,
       contents.size_bytes, fetches.error_type, fetches.error_detail, fetches.detected_media_type, fetches.charset,
       fetches.charset_source, fetches.coding, fetches.redirects, fetches.served_by_kind, fetches.served_by_id,
       fetches.served_by_age_seconds, fetches.batch_id, fetches.labels, fetches.attrs,
       (
           SELECT jsonb_agg(
               jsonb_build_object(
                   'number', attempts.number, 'outcome', attempts.outcome, 'error', attempts.error_type,
                   'status', attempts.response_status, 'started_at', attempts.started_at, 'finished_at', attempts.finished_at,
                   'seconds', extract(epoch FROM attempts.finished_at - attempts.started_at),
                   'hops', jsonb_path_query_array(attempts.evidence, '$.hops[*].url'),
                   'evidence', attempts.evidence - 'received'
               )
               ORDER BY attempts.number
           )
           FROM attempts
           WHERE attempts.fetch_id = fetches.id
       ) AS attempts
FROM fetches
LEFT JOIN fetch_queue AS queue ON queue.id = fetches.id
LEFT JOIN hosts ON hosts.host = fetches.host AND queue.id IS NOT NULL
LEFT JOIN contents ON contents.digest = fetches.content_digest
WHERE fetches.id = ANY($1::uuid[])
  AND ($3::text IS NULL OR fetches.tenant = $3::text)
ORDER BY fetches.id DESC;

-- name: fetches_request
-- What a tenant's fetch asked for, and what its caller noted about it.
SELECT id, host, request, accepted_at, tenant, key_id, batch_id, labels, attrs
FROM fetches
WHERE id = $1::uuid
  AND tenant = $2::text;

-- name: attempts_insert
-- Attempts are recorded once and never change.
INSERT INTO attempts (fetch_id, number, worker, outcome, error_type, response_status, started_at, finished_at, evidence)
SELECT *
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::timestamptz[],
            $9::jsonb[])
ON CONFLICT (fetch_id, number) DO NOTHING
RETURNING fetch_id, number, outcome;
