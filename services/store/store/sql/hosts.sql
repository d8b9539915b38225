-- Hosts and their pace (docs/decisions/0019-host-pace.md). A transaction touches hosts last, in order of their names; only the claim
-- takes them first, and it waits for nobody.

-- name: hosts_open
-- Hosts whose turn has come, those that waited longest first, skipping those that another transaction holds; none while $2 fetches
-- are leased. At most as many hosts as fetches may still be leased ($1 at most).
WITH leased AS (
    SELECT least($1::bigint, $2::bigint - count(*)) AS allowed
    FROM fetch_queue
    WHERE state = 'running'
      AND run_at > coalesce($3::timestamptz, now())
)
SELECT host, crawl_delay_ms, next_slot_at, holder_id, holder_seq, paused_until, slowed_at, slowdowns, last_started_at,
       last_ended_at, last_delay_ms, coalesce($3::timestamptz, now()) AS now, (SELECT allowed FROM leased) AS allowed
FROM hosts
WHERE look_at <= coalesce($3::timestamptz, now())
ORDER BY look_at, host
LIMIT greatest(0, (SELECT allowed FROM leased))
FOR UPDATE OF hosts SKIP LOCKED;

-- name: hosts_lock
-- These hosts, in order of their names so that two recorders cannot deadlock.
SELECT host, crawl_delay_ms, next_slot_at, holder_id, holder_seq, paused_until, slowed_at, slowdowns, last_started_at,
       last_ended_at, last_delay_ms, coalesce($2::timestamptz, now()) AS now
FROM hosts
WHERE host = ANY($1::text[])
ORDER BY host
FOR UPDATE;

-- name: hosts_expect
-- There is work for these hosts, due then: the claim looks at them no later. Always locks the row, also where it changes nothing:
-- a claim that is looking right now has not seen the work.
INSERT INTO hosts (host, look_at)
SELECT host, min(coalesce($3::timestamptz, now()) + make_interval(secs => delay_seconds))
FROM unnest($1::text[], $2::float8[]) AS given (host, delay_seconds)
GROUP BY host
ORDER BY host
ON CONFLICT (host) DO UPDATE
SET look_at = least(hosts.look_at, excluded.look_at);

-- name: hosts_settle
-- Write the pace of hosts that the caller has locked, and when the claim looks at each next: never while nothing is queued, not
-- before it opens, not before the end of a lease while it is full (`max_in_flight`). One that had its turn ($14) goes to the
-- end of the line; another keeps its place. Counts rows, so there is no counter that could drift.
UPDATE hosts
SET crawl_delay_ms = given.crawl_delay_ms,
    next_slot_at = given.next_slot_at,
    holder_id = given.holder_id,
    holder_seq = given.holder_seq,
    paused_until = given.paused_until,
    slowed_at = given.slowed_at,
    slowdowns = given.slowdowns,
    last_started_at = given.last_started_at,
    last_ended_at = given.last_ended_at,
    last_delay_ms = given.last_delay_ms,
    look_at = CASE
        WHEN queued.first_at IS NULL THEN 'infinity'
        WHEN $14::boolean THEN upcoming.opens_at
        ELSE least(hosts.look_at, upcoming.opens_at)
    END
FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::uuid[], $5::integer[], $6::timestamptz[], $7::timestamptz[],
            $8::integer[], $9::timestamptz[], $10::timestamptz[], $11::integer[], $12::integer[])
    AS given (host, crawl_delay_ms, next_slot_at, holder_id, holder_seq, paused_until, slowed_at, slowdowns, last_started_at,
              last_ended_at, last_delay_ms, max_in_flight)
CROSS JOIN LATERAL (
    SELECT min(run_at) AS first_at
    FROM fetch_queue
    WHERE fetch_queue.host = given.host
) AS queued
CROSS JOIN LATERAL (
    SELECT count(*) AS fetches, min(run_at) AS lease_ends_at
    FROM (
        SELECT run_at
        FROM fetch_queue
        WHERE fetch_queue.host = given.host
          AND state = 'running'
          AND run_at > coalesce($13::timestamptz, now())
        ORDER BY run_at
        LIMIT given.max_in_flight
    ) AS leases
) AS in_flight
CROSS JOIN LATERAL (
    SELECT greatest(
        coalesce($13::timestamptz, now()), given.next_slot_at, given.paused_until,
        CASE WHEN in_flight.fetches >= given.max_in_flight THEN in_flight.lease_ends_at ELSE queued.first_at END
    ) AS opens_at
) AS upcoming
WHERE hosts.host = given.host;

-- name: hosts_next_look
-- In how many seconds the claim has a host to look at; no row while nothing is queued.
SELECT extract(epoch FROM look_at - coalesce($1::timestamptz, now()))::float8 AS seconds
FROM hosts
WHERE look_at < 'infinity'
ORDER BY look_at
LIMIT 1;

-- name: hosts_overlooked
-- The next $2 hosts after $1 that have queued fetches, and whether each would be looked at too late or never: let in by a store of
-- the release before, or released by a loop that does not hold the host. Reads one index entry a host, however many fetches it has.
WITH RECURSIVE queued AS (
    (
        SELECT host, 1 AS place
        FROM fetch_queue
        WHERE host > $1::text
        ORDER BY host
        LIMIT 1
    )
    UNION ALL
    SELECT following.host, queued.place + 1
    FROM queued
    CROSS JOIN LATERAL (
        SELECT host
        FROM fetch_queue
        WHERE fetch_queue.host > queued.host
        ORDER BY host
        LIMIT 1
    ) AS following
    WHERE queued.place < $2::integer
)
SELECT queued.host,
       coalesce(hosts.look_at > greatest(
           coalesce($3::timestamptz, now()), hosts.next_slot_at, hosts.paused_until,
           (SELECT min(run_at) FROM fetch_queue WHERE fetch_queue.host = queued.host),
           (SELECT max(run_at) FROM fetch_queue WHERE fetch_queue.host = queued.host AND state = 'running')
       ), true) AS is_overlooked
FROM queued
LEFT JOIN hosts ON hosts.host = queued.host
ORDER BY queued.host;

-- name: hosts_forget
-- Of the next $2 idle hosts after $1, delete those that had no attempt for $3 seconds; they say again what they ask for. Names the
-- last that was looked at, none when there were fewer.
WITH idle AS MATERIALIZED (
    SELECT host
    FROM hosts
    WHERE look_at = 'infinity'
      AND host > $1::text
    ORDER BY host
    LIMIT $2::bigint
), stale AS (
    SELECT hosts.host
    FROM idle
    JOIN hosts ON hosts.host = idle.host
    WHERE hosts.look_at = 'infinity'
      AND coalesce(hosts.last_ended_at, hosts.slowed_at, '-infinity') < coalesce($4::timestamptz, now()) - make_interval(secs => $3::float8)
      AND coalesce(hosts.paused_until < coalesce($4::timestamptz, now()), true)
    FOR UPDATE OF hosts SKIP LOCKED
), forgotten AS (
    DELETE FROM hosts
    USING stale
    WHERE hosts.host = stale.host
    RETURNING hosts.host
)
SELECT (SELECT count(*) FROM forgotten) AS forgotten,
       (SELECT max(host) FROM idle HAVING count(*) = $2::bigint) AS last_host;
