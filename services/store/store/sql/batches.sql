-- Batches: what was submitted together, and how far it is.

-- name: batches_keep
-- A submission has ended. One that broke off and is repeated ends once more; one that ended whole stays as it is.
INSERT INTO batches AS known (id, tenant, key_id, created_at, accepted, rejected, errors, is_whole)
SELECT *
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::jsonb[], $8::boolean[])
ON CONFLICT (id) DO UPDATE
SET accepted = excluded.accepted,
    rejected = excluded.rejected,
    errors = excluded.errors,
    is_whole = excluded.is_whole
WHERE NOT known.is_whole
  AND known.tenant = excluded.tenant;

-- name: batches_read
-- One batch of a tenant with its fetches by status. Those that run are looked for among all that are out, which are bounded.
SELECT batches.id, batches.created_at, batches.accepted, batches.rejected, batches.errors, batches.is_whole,
       (
           SELECT jsonb_object_agg(counts.name, counts.fetches)
           FROM (
               SELECT name, sum(fetches) AS fetches
               FROM batch_counts
               WHERE batch_id = batches.id
               GROUP BY name
           ) AS counts
       ) AS counts,
       (
           SELECT count(*)
           FROM fetch_queue AS queue
           JOIN fetches ON fetches.id = queue.id
           WHERE queue.state = 'running'
             AND queue.run_at > coalesce($3::timestamptz, now())
             AND fetches.batch_id = batches.id
       ) AS running
FROM batches
WHERE batches.id = $1::uuid
  AND batches.tenant = $2::text;
