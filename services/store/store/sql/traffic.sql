-- Traffic as the status page shows it: what there is now, samples of each minute, the busiest hosts and the last failures.

-- name: traffic_now
-- Totals of all time, the queue, and the time, in one snapshot. $1 now.
SELECT coalesce($1::timestamptz, now()) AS at, counts.*,
       greatest(0, backlog.pending - leased.fetches) AS queued, leased.fetches AS running,
       coalesce((
           SELECT extract(epoch FROM coalesce($1::timestamptz, now()) - run_at)::float8
           FROM fetch_queue
           WHERE run_at <= coalesce($1::timestamptz, now())
           ORDER BY run_at
           LIMIT 1
       ), 0) AS oldest_seconds
FROM (
    SELECT coalesce(sum(fetches) FILTER (WHERE name = 'accepted'), 0)::bigint AS accepted,
           coalesce(sum(fetches) FILTER (WHERE name = 'succeeded'), 0)::bigint AS succeeded,
           coalesce(sum(fetches) FILTER (WHERE name = 'failed'), 0)::bigint AS failed,
           coalesce(sum(fetches) FILTER (WHERE name = 'cancelled'), 0)::bigint AS cancelled,
           coalesce(sum(fetches) FILTER (WHERE name = 'expired'), 0)::bigint AS expired
    FROM fetch_counts
) AS counts
CROSS JOIN (
    SELECT coalesce(sum(CASE name WHEN 'enqueued' THEN fetches ELSE -fetches END), 0)::bigint AS pending
    FROM queue_counts
) AS backlog
CROSS JOIN (
    SELECT count(*) AS fetches
    FROM fetch_queue
    WHERE state = 'running'
      AND run_at > coalesce($1::timestamptz, now())
) AS leased;

-- name: traffic_keep
-- The sample of the minute that $1 is in; of several stores the first wins. The rest is what `traffic_now` said.
INSERT INTO traffic_samples (at, accepted, succeeded, failed, cancelled, expired, queued, running, oldest_seconds)
VALUES (date_trunc('minute', $1::timestamptz), $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint,
        $9::float8)
ON CONFLICT (at) DO NOTHING;

-- name: traffic_since
-- The samples since $1, the oldest first, the latest $2 of them.
SELECT *
FROM (
    SELECT at, accepted, succeeded, failed, cancelled, expired, queued, running, oldest_seconds
    FROM traffic_samples
    WHERE at >= $1::timestamptz
    ORDER BY at DESC
    LIMIT $2::bigint
) AS latest
ORDER BY at;

-- name: traffic_prune
-- Delete the oldest samples of those from before $1, at most $2.
DELETE FROM traffic_samples
WHERE at IN (
    SELECT at
    FROM traffic_samples
    WHERE at < $1::timestamptz
    ORDER BY at
    LIMIT $2::bigint
);

-- name: traffic_hosts
-- The $1 hosts with most fetches in a queue of at most $2, all counted. A longer one is cut off: ask `traffic_hosts_sampled`.
SELECT host, count(*) AS fetches
FROM (
    SELECT host
    FROM fetch_queue
    ORDER BY host, run_at, id
    LIMIT $2::bigint
) AS queued
GROUP BY host
ORDER BY count(*) DESC, host
LIMIT $1::bigint;

-- name: traffic_hosts_sampled
-- The same of a long queue, guessed from $2 percent of its pages: always the same ones, so that the guess does not flicker.
SELECT host, greatest(1, round(count(*) * 100 / $2::float8))::bigint AS fetches
FROM fetch_queue TABLESAMPLE SYSTEM ($2::float8) REPEATABLE (0)
GROUP BY host
ORDER BY count(*) DESC, host
LIMIT $1::bigint;

-- name: traffic_failures
-- The last $1 fetches that failed, of all tenants.
SELECT id, host, tenant, finished_at, error_type, error_detail
FROM fetches
WHERE status = 'failed'
ORDER BY finished_at DESC, id DESC
LIMIT $1::bigint;
