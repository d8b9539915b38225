-- What is deleted once it is old enough (docs/decisions/0035-backup-and-retention.md): a bounded set at a time, found by walking along
-- a primary key, never waiting for anybody. Ids are UUIDs of version 7, so $2 is a moment.

-- name: fetches_prune
-- Of the next $3 fetches behind $1 and before $2, delete those that finished before $4, with their attempts and labels. Tells how far
-- the walk has come, and which batches lost fetches.
WITH looked_at AS MATERIALIZED (
    SELECT id
    FROM fetches
    WHERE id > $1::uuid
      AND id < $2::uuid
    ORDER BY id
    LIMIT $3::bigint
), old AS MATERIALIZED (
    SELECT fetches.id
    FROM looked_at
    JOIN fetches ON fetches.id = looked_at.id
    WHERE fetches.finished_at < $4::timestamptz
    FOR UPDATE OF fetches SKIP LOCKED
), old_attempts AS (
    DELETE FROM attempts
    USING old
    WHERE attempts.fetch_id = old.id
    RETURNING attempts.fetch_id
), pruned AS (
    DELETE FROM fetches
    USING old
    WHERE fetches.id = old.id
    RETURNING fetches.batch_id
)
SELECT (SELECT count(*) FROM looked_at) AS looked_at,
       (SELECT id FROM looked_at ORDER BY id DESC LIMIT 1) AS last_id,
       (SELECT count(*) FROM pruned) AS fetches,
       (SELECT count(*) FROM old_attempts) AS attempts,
       ARRAY(SELECT DISTINCT batch_id FROM pruned WHERE batch_id IS NOT NULL) AS batch_ids;

-- name: batches_prune
-- Of the next $3 batches behind $1 and before $2, delete those made before $4 of which no fetch is left, with their counts.
WITH looked_at AS MATERIALIZED (
    SELECT id
    FROM batches
    WHERE id > $1::uuid
      AND id < $2::uuid
    ORDER BY id
    LIMIT $3::bigint
), old AS MATERIALIZED (
    SELECT batches.id
    FROM looked_at
    JOIN batches ON batches.id = looked_at.id
    WHERE batches.created_at < $4::timestamptz
      AND NOT EXISTS (SELECT FROM fetches WHERE fetches.batch_id = batches.id)
    FOR UPDATE OF batches SKIP LOCKED
), old_counts AS (
    DELETE FROM batch_counts
    USING old
    WHERE batch_counts.batch_id = old.id
), pruned AS (
    DELETE FROM batches
    USING old
    WHERE batches.id = old.id
    RETURNING batches.id
)
SELECT (SELECT count(*) FROM looked_at) AS looked_at,
       (SELECT id FROM looked_at ORDER BY id DESC LIMIT 1) AS last_id,
       (SELECT count(*) FROM pruned) AS batches;

-- name: batch_counts_prune
-- Forget the counts of these batches where no fetch is left and no batch ever came: its submission broke off with its gateway.
DELETE FROM batch_counts
WHERE batch_id = ANY($1::uuid[])
  AND NOT EXISTS (SELECT FROM fetches WHERE fetches.batch_id = batch_counts.batch_id)
  AND NOT EXISTS (SELECT FROM batches WHERE batches.id = batch_counts.batch_id);

-- name: dead_letters_prune
-- Of the oldest $2 parked messages delete those parked before $1.
WITH oldest AS MATERIALIZED (
    SELECT id, created_at
    FROM dead_letters
    ORDER BY id
    LIMIT $2::bigint
    FOR UPDATE SKIP LOCKED
)
DELETE FROM dead_letters
USING oldest
WHERE dead_letters.id = oldest.id
  AND oldest.created_at < $1::timestamptz
RETURNING dead_letters.id;

-- name: contents_unused
-- The next $2 contents behind $1, and of each whether it was handed in before $3 and no fetch refers to it.
SELECT contents.digest,
       contents.created_at < $3::timestamptz
           AND NOT EXISTS (SELECT FROM fetches WHERE fetches.content_digest = contents.digest) AS is_unused
FROM contents
WHERE contents.digest > $1::bytea
ORDER BY contents.digest
LIMIT $2::bigint;

-- name: contents_lock
-- Those of these contents that nobody is about to refer to; nobody can while they are locked.
SELECT digest
FROM contents
WHERE digest = ANY($1::bytea[])
  AND created_at < $2::timestamptz
ORDER BY digest
FOR UPDATE SKIP LOCKED;

-- name: contents_prune
-- Delete locked contents, except those that a fetch was seen to refer to only now.
DELETE FROM contents
WHERE digest = ANY($1::bytea[])
  AND NOT EXISTS (SELECT FROM fetches WHERE fetches.content_digest = contents.digest)
RETURNING digest;
