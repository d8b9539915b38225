-- Content, addressed by the SHA-256 of the decoded bytes, stored once whoever fetched it.

-- name: contents_insert
-- Keep bodies; one that is known already costs nothing. Tells the sizes of those that were new.
INSERT INTO contents (digest, size_bytes, compressed_bytes, body, created_at)
SELECT digest, size_bytes, octet_length(body), body, coalesce($4::timestamptz, now())
FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) AS given (digest, size_bytes, body)
ORDER BY digest
ON CONFLICT (digest) DO NOTHING
RETURNING size_bytes;

-- name: contents_known
-- Which of these digests are stored.
SELECT digest
FROM contents
WHERE digest = ANY($1::bytea[]);

-- name: contents_of_fetch
-- The stored body of one fetch; no row when the fetch is unknown, a null body when it has none.
SELECT fetches.status, contents.digest, contents.size_bytes, contents.body
FROM fetches
LEFT JOIN contents ON contents.digest = fetches.content_digest
WHERE fetches.id = $1::uuid
  AND ($2::text IS NULL OR fetches.tenant = $2::text);
