-- Pages of a tenant's fetches, the newest first: ids sort by the time they were made. One statement for each index that may lead; the
-- filters that do not lead are checked on the way. $1 tenant, $2 only what is before this id, $3 how many.

-- name: fetches_page
-- Led by nothing but the tenant; $4 status.
SELECT fetches.id
FROM fetches
WHERE fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::text IS NULL OR fetches.status = $4::text)
ORDER BY fetches.id DESC
LIMIT $3::bigint;

-- name: fetches_page_of_batch
-- Led by the batch $8; $4 status, $5 now, $6 host, $7 label.
SELECT fetches.id
FROM fetches
LEFT JOIN fetch_queue AS queue ON queue.id = fetches.id
WHERE fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::text IS NULL
       OR CASE WHEN queue.state = 'running' AND queue.run_at > coalesce($5::timestamptz, now()) THEN 'running' ELSE fetches.status END
          = $4::text)
  AND ($6::text IS NULL OR fetches.host = $6::text)
  AND ($7::text IS NULL OR fetches.labels @> ARRAY[$7::text])
  AND fetches.batch_id = $8::uuid
ORDER BY fetches.id DESC
LIMIT $3::bigint;

-- name: fetches_page_of_label
-- Led by the label $7; $4 status, $5 now, $6 host, $8 batch.
SELECT fetches.id
FROM fetch_labels
JOIN fetches ON fetches.id = fetch_labels.fetch_id
LEFT JOIN fetch_queue AS queue ON queue.id = fetches.id
WHERE fetch_labels.tenant = $1::text
  AND fetch_labels.fetch_id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::text IS NULL
       OR CASE WHEN queue.state = 'running' AND queue.run_at > coalesce($5::timestamptz, now()) THEN 'running' ELSE fetches.status END
          = $4::text)
  AND ($6::text IS NULL OR fetches.host = $6::text)
  AND fetch_labels.label = $7::text
  AND ($8::uuid IS NULL OR fetches.batch_id = $8::uuid)
ORDER BY fetch_labels.fetch_id DESC
LIMIT $3::bigint;

-- name: fetches_page_of_host
-- Led by the host $6; $4 status, $5 now, $7 label, $8 batch.
SELECT fetches.id
FROM fetches
LEFT JOIN fetch_queue AS queue ON queue.id = fetches.id
WHERE fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::text IS NULL
       OR CASE WHEN queue.state = 'running' AND queue.run_at > coalesce($5::timestamptz, now()) THEN 'running' ELSE fetches.status END
          = $4::text)
  AND fetches.host = $6::text
  AND ($7::text IS NULL OR fetches.labels @> ARRAY[$7::text])
  AND ($8::uuid IS NULL OR fetches.batch_id = $8::uuid)
ORDER BY fetches.id DESC
LIMIT $3::bigint;

-- name: fetches_page_running
-- Led by what is out now ($4), which is bounded.
SELECT fetches.id
FROM fetch_queue AS queue
JOIN fetches ON fetches.id = queue.id
WHERE queue.state = 'running'
  AND queue.run_at > coalesce($4::timestamptz, now())
  AND fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY fetches.id DESC
LIMIT $3::bigint;

-- name: fetches_page_queued
-- Led by what is pending; $4 now.
SELECT fetches.id
FROM fetches
JOIN fetch_queue AS queue ON queue.id = fetches.id
WHERE fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND fetches.finished_at IS NULL
  AND NOT (queue.state = 'running' AND queue.run_at > coalesce($4::timestamptz, now()))
ORDER BY fetches.id DESC
LIMIT $3::bigint;

-- name: fetches_page_without_response
-- Led by the status $4, one of those that few fetches end with.
SELECT fetches.id
FROM fetches
WHERE fetches.tenant = $1::text
  AND fetches.id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND fetches.status IN ('failed', 'cancelled', 'expired')
  AND fetches.status = $4::text
ORDER BY fetches.id DESC
LIMIT $3::bigint;
