-- robots.txt files as fetchers hand them in, for all fetchers.

-- name: robots_read
-- The file of an origin, expired or not: an expired one serves while the origin cannot be reached.
SELECT origin, availability, status, body, fetched_at, expires_at
FROM robots_files
WHERE origin = $1::text;

-- name: robots_read_several
-- The files of these origins, the smallest first; the bodies of those that fit into $2 bytes together, and no body of the rest.
SELECT sized.origin, files.availability, files.status, files.fetched_at, files.expires_at, sized.bytes_up_to_here <= $2::bigint AS fits,
       CASE WHEN sized.bytes_up_to_here <= $2::bigint THEN files.body END AS body
FROM (
    SELECT origin, sum(octet_length(body)) OVER (ORDER BY octet_length(body), origin) AS bytes_up_to_here
    FROM robots_files
    WHERE origin = ANY($1::text[])
) AS sized
JOIN robots_files AS files ON files.origin = sized.origin
ORDER BY sized.bytes_up_to_here, sized.origin;

-- name: robots_keep
-- Keep a file unless a newer one of that origin is here already. One that was fetched then but holds longer is newer: an expired
-- copy that goes on serving.
INSERT INTO robots_files AS kept (origin, availability, status, body, fetched_at, expires_at)
VALUES ($1::text, $2::text, $3::integer, $4::bytea, $5::timestamptz, $6::timestamptz)
ON CONFLICT (origin) DO UPDATE
SET availability = excluded.availability,
    status = excluded.status,
    body = excluded.body,
    fetched_at = excluded.fetched_at,
    expires_at = excluded.expires_at
WHERE (kept.fetched_at, kept.expires_at) < (excluded.fetched_at, excluded.expires_at);

-- name: robots_prune
-- Delete what expired $1 seconds ago, and of the rest what exceeds $2 bytes in all, the first to expire first. A file counts
-- for 1 KiB more than its body.
WITH ranked AS (
    SELECT origin, expires_at, sum(octet_length(body) + 1024) OVER (ORDER BY expires_at DESC, origin) AS bytes_up_to_here
    FROM robots_files
), pruned AS (
    DELETE FROM robots_files
    USING ranked
    WHERE robots_files.origin = ranked.origin
      AND (ranked.expires_at < coalesce($3::timestamptz, now()) - make_interval(secs => $1::float8)
           OR ranked.bytes_up_to_here > $2::bigint)
    RETURNING robots_files.origin
)
SELECT (SELECT count(*) FROM pruned) AS pruned,
       (SELECT count(*) FROM robots_files) - (SELECT count(*) FROM pruned) AS kept;
