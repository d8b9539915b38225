-- The ledger: what was accepted and what became of it.

-- name: fetches_accept
-- New fetches enter the ledger and its count; ids already known change nothing. Tells which were new.
WITH accepted AS (
    INSERT INTO fetches (id, host, request, traceparent, accepted_at, ingested_at)
    SELECT id, host, request, traceparent, accepted_at, coalesce($6::timestamptz, now())
    FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::timestamptz[])
        AS given (id, host, request, traceparent, accepted_at)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), counted AS (
    INSERT INTO fetch_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, 'accepted', count(*)
    FROM accepted
    HAVING count(*) > 0
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
)
SELECT id
FROM accepted;

-- name: fetches_refuse
-- A fetch that the database would not take as it came enters the ledger as failed, and never the queue; one that is known stays.
WITH refused AS (
    INSERT INTO fetches (id, host, request, traceparent, accepted_at, ingested_at, status, finished_at, error_type, error_detail)
    VALUES ($1::uuid, $2::text, $3::jsonb, $4::text, coalesce($5::timestamptz, $8::timestamptz, now()),
            coalesce($8::timestamptz, now()), 'failed', coalesce($8::timestamptz, now()), $6::text, $7::text)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, status, finished_at, request ->> 'url' AS url, response_status, error_type, traceparent
), counted AS (
    INSERT INTO fetch_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, names.name, count(*)
    FROM refused
    CROSS JOIN (VALUES ('accepted'), ('failed')) AS names (name)
    GROUP BY names.name
    ORDER BY names.name
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches
)
SELECT id, status, finished_at, url, response_status, error_type, traceparent
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
              fetches.response_status, fetches.error_type, fetches.traceparent
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
)
SELECT id, status, finished_at, url, response_status, error_type, traceparent,
       id = ANY(ARRAY(SELECT left_queue.id FROM left_queue WHERE may_lead)) AS may_lead
FROM finished;

-- name: fetches_read
-- One fetch and its attempts as a reader sees them; its queue row, while it has one, knows whether it runs and what it
-- waits for, and its host whether that is closed.
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
       fetches.served_by_age_seconds,
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
WHERE fetches.id = $1;

-- name: attempts_insert
-- Attempts are recorded once and never change.
INSERT INTO attempts (fetch_id, number, worker, outcome, error_type, response_status, started_at, finished_at, evidence)
SELECT *
FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::timestamptz[], $8::timestamptz[],
            $9::jsonb[])
ON CONFLICT (fetch_id, number) DO NOTHING
RETURNING fetch_id, number, outcome;
