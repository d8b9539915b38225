-- The queue of due work. One column, run_at, serves first dispatch, delay, retry and the end of a lease.

-- name: queue_enqueue
-- New fetches enter the queue, and the claim looks at their hosts when the first of each is due. One with a leader waits for it, $12
-- seconds at most. Each level of priority is worth $13 seconds of waiting. Always locks the hosts, also where that changes nothing:
-- a claim that is looking right now has not seen the work.
WITH given AS (
    SELECT *, greatest(coalesce($14::timestamptz, now()) + make_interval(secs => delay_seconds), not_before) AS due_at
    FROM unnest($1::uuid[], $2::text[], $3::real[], $4::real[], $5::timestamptz[], $6::timestamptz[], $7::smallint[], $8::boolean[],
                $9::bytea[], $10::bytea[], $11::uuid[])
        AS given (id, host, timeout_seconds, delay_seconds, not_before, expires_at, priority, at_most_once, sharing_key,
                  coalesce_key, leader_id)
), queued AS (
    INSERT INTO fetch_queue (id, host, run_at, rank_at, priority, expires_at, waiting, timeout_seconds, at_most_once, sharing_key,
                             coalesce_key, leader_id)
    SELECT id, host,
           CASE WHEN leader_id IS NULL THEN due_at ELSE due_at + make_interval(secs => $12::real) END,
           due_at - make_interval(secs => priority * $13::real),
           priority, expires_at,
           CASE WHEN due_at > coalesce($14::timestamptz, now()) THEN 'delay' ELSE 'queue' END,
           timeout_seconds, at_most_once, sharing_key, coalesce_key, leader_id
    FROM given
)
INSERT INTO hosts (host, look_at)
SELECT host, min(due_at)
FROM given
WHERE leader_id IS NULL
GROUP BY host
ORDER BY host
ON CONFLICT (host) DO UPDATE
SET look_at = least(hosts.look_at, excluded.look_at);

-- name: queue_claim
-- Lease what is due on hosts that the caller has locked: of each at most $2 trains of $3 fetches, those first in its line first, and
-- never more than $5 in all. What is in line goes by rank; what was to be due later joins by its time. The trains of a host take turns
-- at its line; the last of each holds a slot. A lease lasts the fetch's own timeout plus a margin ($8) and what its train takes ($6),
-- and longer after each dispatch that nobody answered, so that busy workers are not mistaken for dead ones again and again. What may
-- be sent once only is given out once only; what has expired or waits for another is not given out. One that accepts an older
-- response carries the newest stored one, to ask the origin whether it still holds. What was left unanswered is suspected to kill its
-- worker, and the last of its dispatches ($7) is made with no other suspect out: whoever dies then, it was not of another suspect.
-- Suspects are given out only by a caller that no other one may count beside ($10), and looked for only where there are any.
WITH suspects AS (
    SELECT CASE
        WHEN bool_or(unanswered >= $7::integer
                     AND dispatched_at + (run_at - dispatched_at) / unanswered > coalesce($9::timestamptz, now())) THEN 0
        WHEN count(*) > 0 THEN $7::integer - 2
        ELSE $7::integer - 1
    END AS unanswered_limit
    FROM fetch_queue
    WHERE state = 'running'
      AND run_at > coalesce($9::timestamptz, now())
      AND unanswered > 1
), picked AS (
    SELECT picked.*, given.trains, given.train_seconds, given.pace_ms
    FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[], $6::real[]) WITH ORDINALITY
        AS given (host, trains, cars, pace_ms, train_seconds, place)
    CROSS JOIN LATERAL (
        SELECT line.*
        FROM (
            SELECT id, host, run_at, rank_at, unanswered, sharing_key, coalesce_key
            FROM fetch_queue
            WHERE fetch_queue.host = given.host
              AND leader_id IS NULL
              AND waiting = 'queue'
              AND run_at <= coalesce($9::timestamptz, now())
              AND (unanswered = 0 OR $10::boolean AND unanswered <= (SELECT unanswered_limit FROM suspects))
              AND NOT (at_most_once AND unanswered > 0)
              AND (expires_at IS NULL OR expires_at > coalesce($9::timestamptz, now()))
            ORDER BY rank_at, id
            LIMIT given.trains * given.cars
            FOR UPDATE SKIP LOCKED
        ) AS line
        UNION ALL
        SELECT later.*
        FROM (
            SELECT id, host, run_at, rank_at, unanswered, sharing_key, coalesce_key
            FROM fetch_queue
            WHERE fetch_queue.host = given.host
              AND leader_id IS NULL
              AND waiting <> 'queue'
              AND run_at <= coalesce($9::timestamptz, now())
              AND (expires_at IS NULL OR expires_at > coalesce($9::timestamptz, now()))
            ORDER BY run_at, id
            LIMIT given.trains * given.cars
            FOR UPDATE SKIP LOCKED
        ) AS later
        ORDER BY rank_at, id
        LIMIT given.trains * given.cars
    ) AS picked
    LIMIT $5::bigint
), judged AS (
    SELECT picked.*,
           unanswered > 0 AND unanswered = $7::integer - 1 AS is_last,
           row_number() OVER (PARTITION BY unanswered ORDER BY rank_at, id) AS turn,
           bool_or(unanswered BETWEEN 1 AND $7::integer - 2) OVER () AS has_company
    FROM picked
), due AS (
    SELECT judged.*, row_number() OVER (PARTITION BY host ORDER BY rank_at, id) AS place, count(*) OVER (PARTITION BY host) AS places
    FROM judged
    WHERE NOT is_last OR turn = 1 AND NOT has_company
), claimed AS (
    UPDATE fetch_queue AS queue
    SET state = 'running',
        waiting = 'queue',
        run_at = coalesce($9::timestamptz, now())
            + make_interval(secs => (queue.timeout_seconds + due.train_seconds + $8::real) * (1 + queue.unanswered)),
        dispatched_at = coalesce($9::timestamptz, now()),
        dispatch_seq = queue.dispatch_seq + 1,
        unanswered = queue.unanswered + 1,
        revalidates_id = stored.id,
        pace_ms = due.pace_ms,
        holds_slot = due.place > due.places - due.trains
    FROM due
    LEFT JOIN LATERAL (
        SELECT fetches.id, fetches.response_headers, fetches.content_digest
        FROM fetches
        WHERE fetches.sharing_key = due.sharing_key
        ORDER BY fetches.fetched_at DESC
        LIMIT 1
    ) AS stored ON due.coalesce_key IS NOT NULL
    WHERE queue.id = due.id
    RETURNING queue.id, queue.host, due.place, queue.dispatch_seq, queue.unanswered, queue.run_at AS lease_ends_at,
              extract(epoch FROM coalesce($9::timestamptz, now()) - due.run_at)::float8 AS waited_seconds,
              stored.id AS stored_id, stored.response_headers AS stored_headers, stored.content_digest AS stored_digest
)
SELECT claimed.id, claimed.host, claimed.dispatch_seq, claimed.unanswered, claimed.lease_ends_at, claimed.waited_seconds,
       fetches.request, fetches.traceparent, claimed.stored_id, claimed.stored_headers, contents.size_bytes AS stored_bytes
FROM claimed
JOIN fetches ON fetches.id = claimed.id
LEFT JOIN contents ON contents.digest = claimed.stored_digest
ORDER BY claimed.host, claimed.place;

-- name: queue_release
-- A dispatch that did not leave is taken back: due at once, and not counted as unanswered. What may be sent once only is taken
-- back only when nobody tried to send it ($3); otherwise it may have left.
UPDATE fetch_queue AS queue
SET state = 'queued',
    run_at = coalesce($4::timestamptz, now()),
    unanswered = queue.unanswered - 1
FROM unnest($1::uuid[], $2::integer[], $3::boolean[]) AS given (id, dispatch_seq, was_tried)
WHERE queue.id = given.id
  AND queue.dispatch_seq = given.dispatch_seq
  AND queue.state = 'running'
  AND NOT (queue.at_most_once AND given.was_tried)
RETURNING queue.id, queue.host, queue.dispatch_seq, given.was_tried;

-- name: queue_end_leases
-- The broker was wiped: every command sent before $1 may be gone, so its lease ends now.
UPDATE fetch_queue
SET run_at = $1::timestamptz
WHERE state = 'running'
  AND run_at > $1::timestamptz
  AND dispatched_at <= $1::timestamptz
RETURNING host;

-- name: queue_lock_pending
-- Lock what `record` is about to change, in id order so that two recorders cannot deadlock.
SELECT queue.id, queue.host, queue.state, queue.dispatch_seq, queue.pace_ms, queue.attempts, queue.at_most_once,
       queue.sharing_key, queue.revalidates_id,
       (fetches.request -> 'retries' ->> 'max')::integer AS retries_max,
       (fetches.request -> 'retries' ->> 'backoff_seconds')::float8 AS backoff_seconds,
       extract(epoch FROM queue.expires_at - coalesce($2::timestamptz, now()))::float8 AS expires_in_seconds
FROM fetch_queue AS queue
JOIN fetches ON fetches.id = queue.id
WHERE queue.id = ANY($1::uuid[])
ORDER BY queue.id
FOR UPDATE OF queue;

-- name: queue_retry
-- Attempts were answered and shall be made again after a wait.
UPDATE fetch_queue AS queue
SET state = 'queued',
    waiting = 'retry',
    run_at = coalesce($3::timestamptz, now()) + make_interval(secs => given.delay_seconds),
    attempts = queue.attempts + 1,
    unanswered = 0
FROM unnest($1::uuid[], $2::float8[]) AS given (id, delay_seconds)
WHERE queue.id = given.id;

-- name: queue_again
-- The stored response that a conditional attempt was about is gone: ask once more, at once, and count nothing.
UPDATE fetch_queue
SET state = 'queued',
    waiting = 'queue',
    run_at = coalesce($2::timestamptz, now()),
    unanswered = 0,
    revalidates_id = NULL
WHERE id = ANY($1::uuid[]);

-- name: queue_snooze
-- Workers gave these back before their turn: due again at once, or when their host is to be left alone no more. Nothing is counted.
UPDATE fetch_queue AS queue
SET state = 'queued',
    run_at = coalesce($2::timestamptz, now()),
    unanswered = 0
WHERE id = ANY($1::uuid[]);

-- name: queue_find_abandoned
-- Fetches dispatched $1 times, or once if that is all they may be, without an answer, whose last lease has ended.
SELECT id, unanswered, at_most_once
FROM fetch_queue
WHERE state = 'running'
  AND run_at <= coalesce($3::timestamptz, now())
  AND (unanswered >= $1::integer OR at_most_once)
ORDER BY run_at
LIMIT $2::bigint
FOR UPDATE SKIP LOCKED;

-- name: queue_lock
-- One pending fetch of a tenant, or with no tenant given of any, to be ended: nobody else changes it until then.
SELECT queue.id
FROM fetch_queue AS queue
JOIN fetches ON fetches.id = queue.id
WHERE queue.id = $1::uuid
  AND ($2::text IS NULL OR fetches.tenant = $2::text)
FOR UPDATE OF queue;

-- name: queue_find_expired
-- Fetches that nobody may start any more and that are not out now. What may be sent once only and was sent is the abandoner's:
-- its request may have arrived.
SELECT id, expires_at
FROM fetch_queue
WHERE expires_at <= coalesce($2::timestamptz, now())
  AND (state = 'queued' OR run_at <= coalesce($2::timestamptz, now()) AND NOT at_most_once)
ORDER BY expires_at, id
LIMIT $1::bigint
FOR UPDATE SKIP LOCKED;

-- name: queue_find_banned
-- Whatever waits on these hosts and is not out now, at most $2 fetches. Those that wait for another one end with that.
SELECT waiting.id, waiting.host
FROM unnest($1::text[]) AS given (host)
CROSS JOIN LATERAL (
    SELECT line.*
    FROM (
        SELECT id, host
        FROM fetch_queue
        WHERE fetch_queue.host = given.host
          AND leader_id IS NULL
          AND waiting = 'queue'
          AND (state = 'queued' OR run_at <= coalesce($3::timestamptz, now()) AND NOT at_most_once)
        ORDER BY rank_at, id
        LIMIT $2::bigint
        FOR UPDATE SKIP LOCKED
    ) AS line
    UNION ALL
    SELECT later.*
    FROM (
        SELECT id, host
        FROM fetch_queue
        WHERE fetch_queue.host = given.host
          AND leader_id IS NULL
          AND waiting <> 'queue'
          AND state = 'queued'
        ORDER BY run_at, id
        LIMIT $2::bigint
        FOR UPDATE SKIP LOCKED
    ) AS later
) AS waiting
LIMIT $2::bigint;

-- name: queue_find_unreached
-- What has been due on these hosts for longer than $2 seconds and is not out now, at most $3 fetches.
SELECT waiting.id, waiting.host, waiting.attempts
FROM unnest($1::text[]) AS given (host)
CROSS JOIN LATERAL (
    SELECT id, host, attempts
    FROM fetch_queue
    WHERE fetch_queue.host = given.host
      AND leader_id IS NULL
      AND run_at <= coalesce($4::timestamptz, now()) - make_interval(secs => $2::float8)
      AND NOT (state = 'running' AND at_most_once)
    ORDER BY run_at, id
    LIMIT $3::bigint
    FOR UPDATE SKIP LOCKED
) AS waiting
LIMIT $3::bigint;

-- name: queue_running
-- How many fetches are leased now, how many leases ended that nobody claimed yet, and how long the oldest due one has waited.
SELECT (SELECT count(*) FROM fetch_queue WHERE state = 'running' AND run_at > now()) AS running,
       (SELECT count(*) FROM fetch_queue WHERE state = 'running' AND run_at <= now()) AS overdue,
       (SELECT extract(epoch FROM now() - run_at)::float8 FROM fetch_queue WHERE run_at <= now() ORDER BY run_at LIMIT 1)
           AS oldest_seconds;

-- name: queue_conservation
-- Accepted, finished and pending fetches in one snapshot, however many there are: the queue counts itself.
SELECT coalesce(sum(fetches) FILTER (WHERE name = 'accepted'), 0)::bigint AS accepted,
       coalesce(sum(fetches) FILTER (WHERE name <> 'accepted'), 0)::bigint AS finished,
       (
           SELECT coalesce(sum(CASE name WHEN 'enqueued' THEN queue_counts.fetches ELSE -queue_counts.fetches END), 0)::bigint
           FROM queue_counts
       ) AS pending
FROM fetch_counts;

-- name: queue_reach
-- How many fetches ever entered the ledger, and when the newest that it has was accepted.
SELECT coalesce(sum(fetches), 0)::bigint AS accepted,
       (SELECT accepted_at FROM fetches ORDER BY id DESC LIMIT 1) AS newest_at
FROM fetch_counts
WHERE name = 'accepted';

-- name: queue_now
-- Postgres's own time, which every decision about due work follows.
SELECT now() AS now;
