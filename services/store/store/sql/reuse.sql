-- Stored responses that answer other fetches, and fetches that wait for an equal one (docs/decisions/0017-reuse.md).

-- name: reuse_lock
-- Stores that accept equal fetches at once do so one after another; the caller gives the buckets in order.
SELECT pg_advisory_xact_lock($1::integer, bucket)
FROM unnest($2::integer[]) AS given (bucket);

-- name: reuse_lock_leaders
-- The oldest pending fetch of each coalesce key, locked in id order: it cannot finish before the caller's transaction has told
-- it of its followers. One that finished meanwhile is not among them.
WITH found AS MATERIALIZED (
    SELECT leader.id
    FROM unnest($1::bytea[]) AS given (coalesce_key)
    CROSS JOIN LATERAL (
        SELECT queue.id
        FROM fetch_queue AS queue
        WHERE queue.coalesce_key = given.coalesce_key
          AND queue.leader_id IS NULL
          AND queue.waiting <> 'delay'
        ORDER BY queue.id
        LIMIT 1
    ) AS leader
)
SELECT queue.id, queue.coalesce_key
FROM found
JOIN fetch_queue AS queue ON queue.id = found.id
ORDER BY queue.id
FOR UPDATE OF queue;

-- name: reuse_newest
-- For each asker the newest stored response of its sharing key, if it is younger than the asker accepts and no larger. It is not
-- pruned before the transaction ends, nor is its content.
SELECT given.id AS asker_id, extract(epoch FROM coalesce($5::timestamptz, now()) - stored.fetched_at)::float8 AS age_seconds,
       stored.*, contents.size_bytes
FROM unnest($1::uuid[], $2::bytea[], $3::float8[], $4::bigint[]) AS given (id, sharing_key, max_age_seconds, max_bytes)
CROSS JOIN LATERAL (
    SELECT id, status, response_status, response_headers, media_type, detected_media_type, charset, charset_source, coding,
           redirects, final_url, content_digest, error_type, error_detail, fetched_at, finished_at, served_by_id
    FROM fetches
    WHERE fetches.sharing_key = given.sharing_key
    ORDER BY fetches.fetched_at DESC
    LIMIT 1
    FOR KEY SHARE
) AS stored
LEFT JOIN contents ON contents.digest = stored.content_digest
WHERE stored.fetched_at > coalesce($5::timestamptz, now()) - make_interval(secs => given.max_age_seconds)
  AND coalesce(contents.size_bytes, 0) <= given.max_bytes;

-- name: reuse_stored
-- Finished fetches by id, to be told again under other ids; none is pruned before the transaction ends, nor is its content.
SELECT fetches.id, status, response_status, response_headers, media_type, detected_media_type, charset, charset_source, coding,
       redirects, final_url, content_digest, error_type, error_detail, fetched_at, finished_at, served_by_id, contents.size_bytes
FROM fetches
LEFT JOIN contents ON contents.digest = fetches.content_digest
WHERE fetches.id = ANY($1::uuid[])
  AND fetches.status <> 'queued'
ORDER BY fetches.id
FOR KEY SHARE OF fetches;

-- name: followers_lock
-- At most $2 fetches that wait for these leaders. Those that somebody else holds are left for later.
SELECT queue.id, queue.leader_id, fetches.accepted_at,
       coalesce((fetches.request ->> 'max_age_seconds')::float8, 0) AS max_age_seconds
FROM fetch_queue AS queue
JOIN fetches ON fetches.id = queue.id
WHERE queue.leader_id = ANY($1::uuid[])
  AND queue.state = 'queued'
ORDER BY queue.leader_id, queue.id
LIMIT $2::bigint
FOR UPDATE OF queue SKIP LOCKED;

-- name: followers_release
-- What their leader ended with is not for these: of those of one leader the first is due at once, and the others follow it.
WITH given AS (
    SELECT queue.id, first_value(queue.id) OVER (PARTITION BY queue.leader_id ORDER BY queue.id) AS head_id
    FROM unnest($1::uuid[]) AS released (id)
    JOIN fetch_queue AS queue ON queue.id = released.id
)
UPDATE fetch_queue AS queue
SET leader_id = nullif(given.head_id, queue.id),
    run_at = coalesce($3::timestamptz, now())
        + make_interval(secs => CASE WHEN given.head_id = queue.id THEN 0 ELSE queue.timeout_seconds + $2::real END)
FROM given
WHERE queue.id = given.id
RETURNING queue.host;

-- name: followers_promote
-- At most $1 fetches whose wait for a leader is over. While that leader is about to be given out, now or after a wait of its own,
-- they go on waiting: as it fares they would fare. Else, when it takes too long or is gone, the first of them is due at once and
-- the others follow it, for an attempt's time and $2 seconds.
WITH due AS (
    SELECT id, leader_id
    FROM fetch_queue
    WHERE leader_id IS NOT NULL
      AND state = 'queued'
      AND run_at <= coalesce($3::timestamptz, now())
    ORDER BY run_at, id
    LIMIT $1::bigint
    FOR UPDATE SKIP LOCKED
), headed AS (
    SELECT due.id,
           CASE
               WHEN leader.state = 'queued' OR leader.run_at <= coalesce($3::timestamptz, now()) THEN leader.id
               ELSE first_value(due.id) OVER (PARTITION BY due.leader_id ORDER BY due.id)
           END AS head_id,
           CASE WHEN leader.state = 'queued' THEN greatest(leader.run_at, coalesce($3::timestamptz, now())) END AS starts_at
    FROM due
    LEFT JOIN fetch_queue AS leader ON leader.id = due.leader_id
), moved AS (
    UPDATE fetch_queue AS queue
    SET leader_id = nullif(headed.head_id, queue.id),
        run_at = CASE WHEN headed.head_id = queue.id THEN coalesce($3::timestamptz, now())
                 ELSE coalesce(headed.starts_at, $3::timestamptz, now()) + make_interval(secs => queue.timeout_seconds + $2::real) END
    FROM headed
    WHERE queue.id = headed.id
    RETURNING queue.leader_id, queue.host
)
SELECT count(*) AS waited, array_agg(host) FILTER (WHERE leader_id IS NULL) AS promoted
FROM moved;

-- name: finished_leaders_insert
-- Note the finished leaders that still have followers.
INSERT INTO finished_leaders (id)
SELECT given.id
FROM unnest($1::uuid[]) AS given (id)
WHERE EXISTS (SELECT 1 FROM fetch_queue AS queue WHERE queue.leader_id = given.id AND queue.state = 'queued')
ON CONFLICT (id) DO NOTHING;

-- name: finished_leaders_lock
-- Some finished leaders that may still have followers.
SELECT id
FROM finished_leaders
ORDER BY id
LIMIT $1::bigint
FOR UPDATE SKIP LOCKED;

-- name: finished_leaders_delete
-- Forget finished leaders that have no followers any more.
DELETE FROM finished_leaders
WHERE id = ANY($1::uuid[])
  AND NOT EXISTS (SELECT 1 FROM fetch_queue AS queue WHERE queue.leader_id = finished_leaders.id AND queue.state = 'queued');
