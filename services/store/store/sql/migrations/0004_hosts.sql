-- One row a host: when the claim looks at it next, who set its pace, and the last attempt on it. Expand only: a store of the release
-- before works on it, and does not pace; `maintenance/host_keeper.py` makes the rows of hosts that such a store lets in.
CREATE TABLE hosts (
    host            text        NOT NULL,
    look_at         timestamptz NOT NULL,
    crawl_delay_ms  integer,
    next_slot_at    timestamptz,
    holder_id       uuid,
    holder_seq      integer,
    paused_until    timestamptz,
    slowed_at       timestamptz,
    slowdowns       integer     NOT NULL DEFAULT 0,
    last_started_at timestamptz,
    last_ended_at   timestamptz,
    last_delay_ms   integer     NOT NULL DEFAULT 0,
    CONSTRAINT hosts_pkey PRIMARY KEY (host),
    CONSTRAINT hosts_crawl_delay_ms_is_positive CHECK (crawl_delay_ms > 0),
    CONSTRAINT hosts_holder_is_whole CHECK ((holder_id IS NULL) = (holder_seq IS NULL)),
    CONSTRAINT hosts_slowdowns_is_a_count CHECK (slowdowns >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE INDEX hosts_to_look_at ON hosts (look_at, host);

ALTER TABLE fetch_queue ADD COLUMN pace_ms integer NOT NULL DEFAULT 0;

CREATE INDEX fetch_queue_of_host ON fetch_queue (host, run_at, id);
CREATE INDEX fetch_queue_leased_of_host ON fetch_queue (host, run_at) WHERE state = 'running';

INSERT INTO hosts (host, look_at)
SELECT DISTINCT host, now()
FROM fetch_queue;
