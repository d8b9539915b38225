-- Hosts and their pace (docs/decisions/0019-host-pace.md). A transaction touches hosts last, in order of their names; only the claim
-- takes them first, and it waits for nobody.

-- name: hosts_open
-- Hosts whose turn has come, those that waited longest first, skipping those that another transaction holds; none while trains hold
-- $2 slots or $4 fetches are out. At most as many hosts as there are slots to take. `allowed` is how many fetches may be taken,
-- `with_suspects` whether those among them that were left unanswered before: for one transaction at a time, by the lock of key $5.
WITH leased AS (
    SELECT least($1::bigint, $4::bigint - count(*)) AS fetches, $2::bigint - count(*) FILTER (WHERE holds_slot) AS slots
    FROM fetch_queue
    WHERE state = 'running'
      AND run_at > coalesce($3::timestamptz, now())
)
SELECT hosts.*, coalesce($3::timestamptz, now()) AS now, (SELECT slots FROM leased) AS slots, (SELECT fetches FROM leased) AS allowed,
       (SELECT pg_try_advisory_xact_lock($5::bigint)) AS with_suspects
FROM hosts
WHERE look_at <= coalesce($3::timestamptz, now())
ORDER BY look_at, host
LIMIT (SELECT greatest(0, least(fetches, slots)) FROM leased)
FOR UPDATE OF hosts SKIP LOCKED;

-- name: hosts_lock
-- These hosts, in order of their names so that two recorders cannot deadlock.
SELECT hosts.*, coalesce($2::timestamptz, now()) AS now
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
-- before it opens and something is due. One that had its turn ($17) goes to the end of the line; another keeps its place.
UPDATE hosts
SET crawl_delay_ms = given.crawl_delay_ms,
    next_slot_at = given.next_slot_at,
    lanes = given.lanes,
    paused_until = given.paused_until,
    slowed_at = given.slowed_at,
    slowdowns = given.slowdowns,
    failures = given.failures,
    broken_until = given.broken_until,
    response_ms = given.response_ms,
    last_started_at = given.last_started_at,
    last_ended_at = given.last_ended_at,
    last_delay_ms = given.last_delay_ms,
    recent = given.recent,
    look_at = CASE
        WHEN queued.first_at IS NULL THEN 'infinity'
        WHEN $17::boolean THEN greatest(given.opens_at, queued.first_at, coalesce($16::timestamptz, now()))
        ELSE least(hosts.look_at, greatest(given.opens_at, queued.first_at))
    END
FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::jsonb[], $5::timestamptz[], $6::timestamptz[], $7::integer[],
            $8::integer[], $9::timestamptz[], $10::integer[], $11::timestamptz[], $12::timestamptz[], $13::integer[], $14::jsonb[],
            $15::timestamptz[])
    AS given (host, crawl_delay_ms, next_slot_at, lanes, paused_until, slowed_at, slowdowns, failures, broken_until, response_ms,
              last_started_at, last_ended_at, last_delay_ms, recent, opens_at)
LEFT JOIN LATERAL (
    SELECT run_at AS first_at
    FROM fetch_queue
    WHERE fetch_queue.host = given.host
      AND leader_id IS NULL
    ORDER BY run_at, id
    LIMIT 1
) AS queued ON true
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
-- the release before. Reads one index entry a host, however many fetches it has.
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
           coalesce($3::timestamptz, now()), hosts.next_slot_at, hosts.paused_until, hosts.broken_until, hosts.override_until,
           (SELECT run_at FROM fetch_queue WHERE fetch_queue.host = queued.host AND leader_id IS NULL ORDER BY run_at, id LIMIT 1),
           (SELECT max((lane ->> 1)::timestamptz) FROM jsonb_array_elements(hosts.lanes) AS lane)
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
      AND coalesce(greatest(hosts.paused_until, hosts.broken_until, hosts.override_until) < coalesce($4::timestamptz, now()), true)
    FOR UPDATE OF hosts SKIP LOCKED
), forgotten AS (
    DELETE FROM hosts
    USING stale
    WHERE hosts.host = stale.host
    RETURNING hosts.host
)
SELECT (SELECT count(*) FROM forgotten) AS forgotten,
       (SELECT max(host) FROM idle HAVING count(*) = $2::bigint) AS last_host;

-- name: hosts_override
-- What an operator set on a host that the caller has locked, or nothing.
UPDATE hosts
SET override_state = $2::text,
    override_delay_ms = $3::integer,
    override_max_in_flight = $4::integer,
    override_reason = $5::text,
    override_by = $6::text,
    override_until = $7::timestamptz
WHERE host = $1::text;

-- name: hosts_refusing
-- The next $2 hosts after $1 that an operator banned or that could not be reached, and the time in force.
SELECT hosts.*, coalesce($3::timestamptz, now()) AS now
FROM hosts
WHERE (override_state = 'banned' OR broken_until IS NOT NULL)
  AND host > $1::text
ORDER BY host
LIMIT $2::bigint;

-- name: hosts_one
-- One host as operators see it.
SELECT hosts.*, coalesce($2::timestamptz, now()) AS now
FROM hosts
WHERE host = $1::text;

-- name: hosts_named
-- Each of these names with its host, if anybody ever asked for it.
SELECT hosts.*, given.name, coalesce($2::timestamptz, now()) AS now
FROM unnest($1::text[]) AS given (name)
LEFT JOIN hosts ON hosts.host = given.name;

-- name: hosts_page
-- The next $2 hosts after $1, whatever an operator set.
SELECT hosts.*, coalesce($3::timestamptz, now()) AS now
FROM hosts
WHERE host > $1::text
ORDER BY host
LIMIT $2::bigint;

-- name: hosts_page_open
-- The next $2 hosts after $1 that no operator closed.
SELECT hosts.*, coalesce($3::timestamptz, now()) AS now
FROM hosts
WHERE host > $1::text
  AND (override_state IS NULL OR override_until <= coalesce($3::timestamptz, now()))
ORDER BY host
LIMIT $2::bigint;

-- name: hosts_page_closed
-- The next $2 hosts after $1 that an operator paused, or banned ($4).
SELECT hosts.*, coalesce($3::timestamptz, now()) AS now
FROM hosts
WHERE host > $1::text
  AND override_state IS NOT NULL
  AND override_state = $4::text
  AND override_until > coalesce($3::timestamptz, now())
ORDER BY host
LIMIT $2::bigint;

-- name: hosts_load
-- How many fetches of these hosts are out, and how many wait, those up to $2 of each.
WITH leased AS MATERIALIZED (
    SELECT host, count(*) AS fetches
    FROM fetch_queue
    WHERE state = 'running'
      AND run_at > coalesce($3::timestamptz, now())
    GROUP BY host
)
SELECT given.host, waiting.fetches AS waiting,
       coalesce((SELECT leased.fetches FROM leased WHERE leased.host = given.host), 0) AS leased
FROM unnest($1::text[]) AS given (host)
CROSS JOIN LATERAL (
    SELECT count(*) AS fetches
    FROM (
        SELECT 1
        FROM fetch_queue
        WHERE fetch_queue.host = given.host
          AND (state = 'queued' OR run_at <= coalesce($3::timestamptz, now()))
        LIMIT $2::bigint
    ) AS counted
) AS waiting;

-- name: hosts_most_queued
-- The $1 hosts with most fetches that wait, and how many wait in all. While the table has more than $2 pages so many of them are read,
-- as they come, and speak for the others: what this costs has a bound, and nothing else is kept to count hosts by.
WITH looked_at AS MATERIALIZED (
    SELECT least(1, $2::float8 / greatest(pg_relation_size('fetch_queue') / current_setting('block_size')::bigint, 1)) AS share
), counted AS (
    SELECT host, count(*) AS fetches
    FROM fetch_queue TABLESAMPLE SYSTEM (100 * (SELECT share FROM looked_at))
    WHERE state = 'queued' OR run_at <= coalesce($3::timestamptz, now())
    GROUP BY host
)
SELECT host, fetches / share AS fetches, sum(fetches) OVER () / share AS waiting
FROM counted
CROSS JOIN looked_at
ORDER BY fetches DESC, host
LIMIT $1::bigint;

-- name: hosts_closed
-- How many hosts operators closed, by state, and how many could not be reached and were not reached since.
SELECT override_state AS state, count(*) AS hosts
FROM hosts
WHERE override_state IS NOT NULL
  AND override_until > now()
GROUP BY override_state
UNION ALL
SELECT 'unreached', count(*)
FROM hosts
WHERE (override_state = 'banned' OR broken_until IS NOT NULL)
  AND broken_until IS NOT NULL;
