-- What the ledger knows of each key, for the limit on what a key may have queued.

-- name: key_totals
-- Fetches ever accepted and ever finished of the keys after $1 whose queued fetches are limited, $2 keys at most.
SELECT limited.id AS key_id,
       coalesce(sum(key_counts.fetches) FILTER (WHERE key_counts.name = 'accepted'), 0)::bigint AS accepted,
       coalesce(sum(key_counts.fetches) FILTER (WHERE key_counts.name = 'finished'), 0)::bigint AS finished
FROM (
    SELECT id
    FROM api_keys
    WHERE queued_fetches IS NOT NULL
      AND id > $1::text
    ORDER BY id
    LIMIT $2
) AS limited
LEFT JOIN key_counts ON key_counts.key_id = limited.id
GROUP BY limited.id
ORDER BY limited.id;
