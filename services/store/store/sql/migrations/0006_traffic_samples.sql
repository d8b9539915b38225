-- What the status page shows: the counts of each minute, and the last failures of all tenants. Expand only: a store of the release
-- before writes no samples, and needs none.
CREATE TABLE traffic_samples (
    at             timestamptz NOT NULL,
    accepted       bigint      NOT NULL,
    succeeded      bigint      NOT NULL,
    failed         bigint      NOT NULL,
    cancelled      bigint      NOT NULL,
    expired        bigint      NOT NULL,
    queued         bigint      NOT NULL,
    running        bigint      NOT NULL,
    oldest_seconds double precision NOT NULL,
    CONSTRAINT traffic_samples_pkey PRIMARY KEY (at),
    CONSTRAINT traffic_samples_at_is_a_minute CHECK (extract(epoch FROM at) % 60 = 0)
);

CREATE INDEX fetches_failed ON fetches (finished_at, id) WHERE status = 'failed';
