-- Events that leave after commit, and messages that could not be applied.

-- name: outbox_insert
-- Queue events for the relay, each with its tenant, in the transaction of the change they tell of.
INSERT INTO outbox (event, tenant, created_at)
SELECT event, tenant, coalesce($3::timestamptz, now())
FROM unnest($1::text[], $2::text[]) AS given (event, tenant);

-- name: outbox_oldest
-- The oldest unsent events.
SELECT id, event, tenant
FROM outbox
ORDER BY id
LIMIT $1::bigint;

-- name: outbox_depth
-- How many events are unsent, counted up to $1, and how long the oldest has waited.
SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox ORDER BY id LIMIT $1::bigint) AS counted) AS events,
       (SELECT extract(epoch FROM now() - created_at)::float8 FROM outbox ORDER BY id LIMIT 1) AS oldest_seconds;

-- name: outbox_delete
-- Sent events leave.
DELETE FROM outbox
WHERE id = ANY($1::bigint[]);

-- name: dead_letters_insert
-- Park a message with its bytes; a second delivery of the same entry changes nothing.
INSERT INTO dead_letters (stream, entry_id, event, body, reason, created_at)
VALUES ($1, $2, $3, $4, $5, now())
ON CONFLICT (stream, entry_id) DO NOTHING
RETURNING id;

-- name: dead_letters_count
-- How many messages are parked.
SELECT count(*) AS parked
FROM dead_letters;

-- name: dead_letters_page
-- The next $2 parked messages before $1, the newest first, with the first $3 bytes of each.
SELECT id, stream, entry_id, reason, created_at, redriven_at, octet_length(event) + coalesce(octet_length(body), 0) AS size_bytes,
       substring(event FROM 1 FOR $3::integer) AS beginning
FROM dead_letters
WHERE id < $1::bigint
ORDER BY id DESC
LIMIT $2::bigint;

-- name: dead_letters_one
-- One parked message with its bytes.
SELECT id, stream, entry_id, event, body, reason
FROM dead_letters
WHERE id = $1::bigint;

-- name: dead_letters_redriven
-- A parked message was put back into its stream.
UPDATE dead_letters
SET redriven_at = coalesce($2::timestamptz, now())
WHERE id = $1::bigint
RETURNING id, stream, entry_id, reason, created_at, redriven_at,
          octet_length(event) + coalesce(octet_length(body), 0) AS size_bytes, substring(event FROM 1 FOR $3::integer) AS beginning;
