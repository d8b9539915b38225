-- Content, addressed by the SHA-256 of the decoded bytes, stored once whoever fetched it.

-- name: contents_insert
-- Keep bodies; one that is known already costs nothing. Tells which are new.
INSERT INTO contents (digest, size_bytes, compressed_bytes, body, created_at)
SELECT digest, size_bytes, octet_length(body), body, coalesce($4::timestamptz, now())
FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS given (digest, size_bytes, body)
ORDER BY digest
ON CONFLICT (digest) DO NOTHING
RETURNING digest;

-- name: contents_hold
-- Which of these digests are stored. Until the transaction ends they are not pruned.
SELECT digest
FROM contents
WHERE digest = ANY($1::bytea[])
ORDER BY digest
FOR KEY SHARE;

-- name: contents_renew
-- One was handed in again by somebody who will refer to it later; written only when it was not handed in within $2 seconds.
UPDATE contents
SET created_at = coalesce($3::timestamptz, now())
WHERE digest = $1::bytea
  AND created_at < coalesce($3::timestamptz, now()) - make_interval(secs => $2::float8);

-- name: contents_of_fetch
-- The stored body of one fetch; no row when the fetch is unknown, a null body when it has none.
SELECT fetches.status, contents.digest, contents.size_bytes, contents.body
FROM fetches
LEFT JOIN contents ON contents.digest = fetches.content_digest
WHERE fetches.id = $1::uuid
  AND ($2::text IS NULL OR fetches.tenant = $2::text);
