-- One row a host: when the claim looks at it next, who set its pace, and the latest attempts on it; priority and expiry of queued
-- fetches; what operators did. Expand only: a store of the release before works on it, and does not pace;
-- `maintenance/host_keeper.py` makes the rows of hosts that such a store lets in.
CREATE TABLE hosts (
    host                   text        NOT NULL,
    look_at                timestamptz NOT NULL,
    crawl_delay_ms         integer,
    next_slot_at           timestamptz,
    lanes                  jsonb       NOT NULL DEFAULT '[]',
    paused_until           timestamptz,
    slowed_at              timestamptz,
    slowdowns              integer     NOT NULL DEFAULT 0,
    failures               integer     NOT NULL DEFAULT 0,
    broken_until           timestamptz,
    response_ms            integer,
    last_started_at        timestamptz,
    last_ended_at          timestamptz,
    last_delay_ms          integer     NOT NULL DEFAULT 0,
    recent                 jsonb       NOT NULL DEFAULT '[]',
    override_state         text,
    override_delay_ms      integer,
    override_max_in_flight integer,
    override_reason        text,
    override_by            text,
    override_until         timestamptz,
    CONSTRAINT hosts_pkey PRIMARY KEY (host),
    CONSTRAINT hosts_crawl_delay_ms_is_positive CHECK (crawl_delay_ms > 0),
    CONSTRAINT hosts_slowdowns_is_a_count CHECK (slowdowns >= 0),
    CONSTRAINT hosts_failures_is_a_count CHECK (failures >= 0),
    CONSTRAINT hosts_override_state_is_known CHECK (override_state IN ('paused', 'banned')),
    CONSTRAINT hosts_override_delay_ms_is_a_duration CHECK (override_delay_ms >= 0),
    CONSTRAINT hosts_override_max_in_flight_is_positive CHECK (override_max_in_flight > 0),
    CONSTRAINT hosts_override_ends CHECK (
        override_until IS NOT NULL OR coalesce(override_state, override_reason, override_by) IS NULL
            AND override_delay_ms IS NULL AND override_max_in_flight IS NULL
    )
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE INDEX hosts_to_look_at ON hosts (look_at, host);
CREATE INDEX hosts_refusing ON hosts (host) WHERE override_state = 'banned' OR broken_until IS NOT NULL;
CREATE INDEX hosts_overridden ON hosts (host) WHERE override_state IS NOT NULL;

ALTER TABLE fetch_queue
    ADD COLUMN pace_ms    integer     NOT NULL DEFAULT 0,
    ADD COLUMN priority   smallint    NOT NULL DEFAULT 5,
    ADD COLUMN rank_at    timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN holds_slot boolean     NOT NULL DEFAULT true,
    ADD CONSTRAINT fetch_queue_priority_is_known CHECK (priority BETWEEN 0 AND 9);

CREATE INDEX fetch_queue_of_host ON fetch_queue (host, run_at, id);
CREATE INDEX fetch_queue_line ON fetch_queue (host, rank_at, id) WHERE leader_id IS NULL AND waiting = 'queue';
CREATE INDEX fetch_queue_later ON fetch_queue (host, run_at, id) WHERE leader_id IS NULL AND waiting <> 'queue';
CREATE INDEX fetch_queue_expiring ON fetch_queue (expires_at, id) WHERE expires_at IS NOT NULL;
CREATE INDEX fetch_queue_slots ON fetch_queue (run_at) INCLUDE (holds_slot) WHERE state = 'running';
DROP INDEX fetch_queue_leased;

INSERT INTO hosts (host, look_at)
SELECT DISTINCT host, now()
FROM fetch_queue;

ALTER TABLE fetches DROP CONSTRAINT fetches_failed_has_error;
ALTER TABLE fetches
    ADD CONSTRAINT fetches_failed_has_error CHECK (CASE status WHEN 'failed' THEN error_type IS NOT NULL WHEN 'expired' THEN true ELSE error_type IS NULL END);

-- How many fetches entered and left the queue, whoever put them in or took them out, so that the backlog is known without counting it.
CREATE TABLE queue_counts (
    shard   integer NOT NULL,
    name    text    NOT NULL,
    fetches bigint  NOT NULL,
    CONSTRAINT queue_counts_pkey PRIMARY KEY (shard, name),
    CONSTRAINT queue_counts_name_is_known CHECK (name IN ('enqueued', 'dequeued'))
) WITH (fillfactor = 50);

CREATE FUNCTION count_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queue_counts AS counts (shard, name, fetches)
    SELECT pg_backend_pid() % 64, TG_ARGV[0], count(*)
    FROM changed
    HAVING count(*) > 0
    ON CONFLICT (shard, name) DO UPDATE
    SET fetches = counts.fetches + excluded.fetches;
    RETURN NULL;
END
$$;

CREATE TRIGGER fetch_queue_enqueued AFTER INSERT ON fetch_queue
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_queue('enqueued');
CREATE TRIGGER fetch_queue_dequeued AFTER DELETE ON fetch_queue
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_queue('dequeued');

INSERT INTO queue_counts (shard, name, fetches)
SELECT 0, 'enqueued', count(*)
FROM fetch_queue;

ALTER TABLE dead_letters ADD COLUMN redriven_at timestamptz;

CREATE TABLE operator_log (
    id      bigint      GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL,
    actor   text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    detail  jsonb       NOT NULL,
    CONSTRAINT operator_log_pkey PRIMARY KEY (id)
);

-- Default privileges let the store's role write every table. What operators did stays there, whoever takes the store over.
DO $$
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema AND table_name = 'operator_log' AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE ALL ON operator_log FROM %I', reader);
        EXECUTE format('GRANT SELECT, INSERT ON operator_log TO %I', reader);
    END LOOP;
END
$$;
