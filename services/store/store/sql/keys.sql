-- API keys (docs/decisions/0021-api-keys.md). A change takes the lock first, so that revisions become visible in their order.

-- name: keys_lock
-- One change of any key at a time, until the transaction ends.
SELECT pg_advisory_xact_lock($1::bigint);

-- name: keys_insert
-- A new key under the next revision; no row when there is one of this id. The caller has the lock.
INSERT INTO api_keys (
    id, tenant, name, scopes, digest, requests_per_minute, fetches_per_minute, queued_fetches, created_at, created_by, expires_at,
    revision
)
VALUES (
    $1::text, $2::text, $3::text, $4::text[], $5::bytea, $6::integer, $7::integer, $8::integer, coalesce($11::timestamptz, now()),
    $9::text, $10::timestamptz, (SELECT coalesce(max(revision), 0) + 1 FROM api_keys)
)
ON CONFLICT ON CONSTRAINT api_keys_pkey DO NOTHING
RETURNING *;

-- name: keys_write
-- Everything about a key that a change may touch, under the next revision. The caller has the lock.
UPDATE api_keys
SET name = $2::text,
    scopes = $3::text[],
    digest = $4::bytea,
    previous_digest = $5::bytea,
    previous_until = $6::timestamptz,
    requests_per_minute = $7::integer,
    fetches_per_minute = $8::integer,
    queued_fetches = $9::integer,
    expires_at = $10::timestamptz,
    rotated_at = $11::timestamptz,
    revoked_at = $12::timestamptz,
    revision = (SELECT max(revision) + 1 FROM api_keys)
WHERE id = $1::text
RETURNING *;

-- name: keys_one
-- One key, and the time.
SELECT api_keys.*, coalesce($2::timestamptz, now()) AS now
FROM api_keys
WHERE id = $1::text;

-- name: keys_changed
-- Keys whose latest change is after that revision, in the order of their changes; with each the latest revision of all.
SELECT api_keys.*, (SELECT max(revision) FROM api_keys) AS latest_revision
FROM api_keys
WHERE revision > $1::bigint
ORDER BY revision
LIMIT $2::bigint;

-- name: keys_latest
-- The latest revision of all keys, 0 when there is none.
SELECT coalesce(max(revision), 0) AS latest_revision
FROM api_keys;

-- name: keys_page
-- Keys in the order of their ids.
SELECT *
FROM api_keys
WHERE id > $1::text
ORDER BY id
LIMIT $2::bigint;

-- name: keys_page_of_tenant
-- Keys of one tenant in the order of their ids.
SELECT *
FROM api_keys
WHERE tenant = $3::text
  AND id > $1::text
ORDER BY id
LIMIT $2::bigint;

-- name: keys_used
-- When these keys were last used. It is no change: gateways need not hear of it. Rows are taken in order so that two reports cannot
-- deadlock; what a gateway's fast clock says is not believed.
UPDATE api_keys
SET last_used_at = least(used.at, now())
FROM (
    SELECT api_keys.id, given.at
    FROM unnest($1::text[], $2::timestamptz[]) AS given (id, at)
    JOIN api_keys ON api_keys.id = given.id AND (api_keys.last_used_at IS NULL OR api_keys.last_used_at < given.at)
    ORDER BY api_keys.id
    FOR UPDATE OF api_keys
) AS used
WHERE api_keys.id = used.id;
