-- The whole schema, for reading. Migrations are for running; a test proves the two equal.

CREATE TABLE contents (
    digest           bytea       NOT NULL,
    size_bytes       bigint      NOT NULL,
    compressed_bytes bigint      NOT NULL,
    body             bytea       NOT NULL,
    created_at       timestamptz NOT NULL,
    CONSTRAINT contents_pkey PRIMARY KEY (digest),
    CONSTRAINT contents_digest_is_sha256 CHECK (octet_length(digest) = 32),
    CONSTRAINT contents_compressed_bytes_is_true CHECK (compressed_bytes = octet_length(body)),
    CONSTRAINT contents_size_bytes_is_positive CHECK (size_bytes > 0)
);

-- Bodies are zstd already: compressing them again would only cost time.
ALTER TABLE contents ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE fetches (
    id               uuid        NOT NULL,
    host             text        NOT NULL,
    request          jsonb       NOT NULL,
    traceparent      text,
    status           text        NOT NULL DEFAULT 'queued',
    accepted_at      timestamptz NOT NULL,
    ingested_at      timestamptz NOT NULL,
    finished_at      timestamptz,
    response_status  integer,
    response_headers jsonb,
    media_type       text,
    final_url        text,
    content_digest   bytea,
    error_type       text,
    error_detail     text,
    detected_media_type   text,
    charset               text,
    charset_source        text,
    coding                text,
    redirects             jsonb,
    fetched_at            timestamptz,
    sharing_key           bytea,
    served_by_kind        text,
    served_by_id          uuid,
    served_by_age_seconds double precision,
    tenant                text        NOT NULL DEFAULT 'default',
    key_id                text,
    batch_id              uuid,
    labels                text[],
    attrs                 jsonb,
    CONSTRAINT fetches_pkey PRIMARY KEY (id),
    CONSTRAINT fetches_content_digest_fkey FOREIGN KEY (content_digest) REFERENCES contents (digest),
    CONSTRAINT fetches_status_is_known CHECK (status IN ('queued', 'succeeded', 'failed', 'cancelled', 'expired')),
    CONSTRAINT fetches_terminal_is_finished CHECK ((status = 'queued') = (finished_at IS NULL)),
    CONSTRAINT fetches_succeeded_has_response CHECK ((status = 'succeeded') = (response_status IS NOT NULL)),
    CONSTRAINT fetches_failed_has_error CHECK (CASE status WHEN 'failed' THEN error_type IS NOT NULL WHEN 'expired' THEN true ELSE error_type IS NULL END),
    CONSTRAINT fetches_content_needs_response CHECK (content_digest IS NULL OR response_status IS NOT NULL),
    CONSTRAINT fetches_sharing_key_needs_response CHECK (sharing_key IS NULL OR (response_status IS NOT NULL AND fetched_at IS NOT NULL)),
    CONSTRAINT fetches_served_by_is_whole CHECK (
        (served_by_kind IS NULL) = (served_by_id IS NULL) AND (served_by_kind IS NULL) = (served_by_age_seconds IS NULL)
    ),
    CONSTRAINT fetches_served_by_kind_is_known CHECK (served_by_kind IN ('cache', 'coalesced', 'not_modified'))
);

-- fetched_at is when the origin said what the fetch ended with. sharing_key is there only where the response may answer others.
CREATE INDEX fetches_reusable ON fetches (sharing_key, fetched_at DESC) WHERE sharing_key IS NOT NULL;

-- What lists are read by, the newest first; ids sort by the time they were made. That of the pending ones asks for no status: to the
-- statements that do, and look fetches up by id, it would seem as cheap to read whole while statistics know of nothing queued.
CREATE INDEX fetches_of_tenant ON fetches (tenant, id);
CREATE INDEX fetches_of_host ON fetches (tenant, host, id);
CREATE INDEX fetches_of_batch ON fetches (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX fetches_of_content ON fetches (content_digest) WHERE content_digest IS NOT NULL;
CREATE INDEX fetches_pending ON fetches (tenant, id) WHERE finished_at IS NULL;
CREATE INDEX fetches_without_response ON fetches (tenant, status, id) WHERE status IN ('failed', 'cancelled', 'expired');

-- The last failures of all tenants, for who operates the deployment.
CREATE INDEX fetches_failed ON fetches (finished_at, id) WHERE status = 'failed';

CREATE TABLE fetch_labels (
    tenant   text NOT NULL,
    label    text NOT NULL,
    fetch_id uuid NOT NULL,
    CONSTRAINT fetch_labels_pkey PRIMARY KEY (tenant, label, fetch_id),
    CONSTRAINT fetch_labels_fetch_id_fkey FOREIGN KEY (fetch_id) REFERENCES fetches (id) ON DELETE CASCADE
);

CREATE INDEX fetch_labels_of_fetch ON fetch_labels (fetch_id);

CREATE TABLE attempts (
    fetch_id        uuid        NOT NULL,
    number          integer     NOT NULL,
    worker          text        NOT NULL,
    outcome         text        NOT NULL,
    error_type      text,
    response_status integer,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    evidence        jsonb       NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (fetch_id, number),
    CONSTRAINT attempts_fetch_id_fkey FOREIGN KEY (fetch_id) REFERENCES fetches (id) ON DELETE CASCADE,
    CONSTRAINT attempts_number_starts_at_one CHECK (number >= 1)
);

-- Holds exactly the fetches that are not terminal. run_at is when a fetch is due, or when its lease ends.
CREATE TABLE fetch_queue (
    id              uuid        NOT NULL,
    host            text        NOT NULL,
    run_at          timestamptz NOT NULL,
    state           text        NOT NULL DEFAULT 'queued',
    waiting         text        NOT NULL,
    dispatch_seq    integer     NOT NULL DEFAULT 0,
    unanswered      integer     NOT NULL DEFAULT 0,
    attempts        integer     NOT NULL DEFAULT 0,
    timeout_seconds real        NOT NULL,
    dispatched_at   timestamptz,
    at_most_once    boolean     NOT NULL DEFAULT false,
    sharing_key     bytea,
    coalesce_key    bytea,
    leader_id       uuid,
    revalidates_id  uuid,
    pace_ms         integer     NOT NULL DEFAULT 0,
    priority        smallint    NOT NULL DEFAULT 5,
    rank_at         timestamptz NOT NULL DEFAULT '-infinity',
    expires_at      timestamptz,
    holds_slot      boolean     NOT NULL DEFAULT true,
    CONSTRAINT fetch_queue_pkey PRIMARY KEY (id),
    CONSTRAINT fetch_queue_id_fkey FOREIGN KEY (id) REFERENCES fetches (id) ON DELETE CASCADE,
    CONSTRAINT fetch_queue_state_is_known CHECK (state IN ('queued', 'running')),
    CONSTRAINT fetch_queue_waiting_is_known CHECK (waiting IN ('queue', 'delay', 'retry')),
    CONSTRAINT fetch_queue_running_was_dispatched CHECK (state = 'queued' OR dispatched_at IS NOT NULL),
    CONSTRAINT fetch_queue_unanswered_within_dispatches CHECK (unanswered BETWEEN 0 AND dispatch_seq),
    CONSTRAINT fetch_queue_priority_is_known CHECK (priority BETWEEN 0 AND 9)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

CREATE INDEX fetch_queue_due ON fetch_queue (run_at, id);
CREATE INDEX fetch_queue_slots ON fetch_queue (run_at) INCLUDE (holds_slot) WHERE state = 'running';
CREATE INDEX fetch_queue_of_host ON fetch_queue (host, run_at, id);
CREATE INDEX fetch_queue_expiring ON fetch_queue (expires_at, id) WHERE expires_at IS NOT NULL;

-- rank_at is a fetch's place in its host's line: when it was due first, earlier by a step for each level of priority, so that who waits
-- moves ahead of all who come later, whatever their priority. What is due later is not in line yet. Of a train only the last fetch
-- holds a slot.
CREATE INDEX fetch_queue_line ON fetch_queue (host, rank_at, id) WHERE leader_id IS NULL AND waiting = 'queue';
CREATE INDEX fetch_queue_later ON fetch_queue (host, run_at, id) WHERE leader_id IS NULL AND waiting <> 'queue';

-- Fetches with one coalesce_key ask for the same, and accept a response of some age: those with a leader_id wait for that one.
CREATE INDEX fetch_queue_leaders ON fetch_queue (coalesce_key, id) WHERE coalesce_key IS NOT NULL AND leader_id IS NULL;
CREATE INDEX fetch_queue_followers ON fetch_queue (leader_id, id) WHERE leader_id IS NOT NULL;
CREATE INDEX fetch_queue_followers_due ON fetch_queue (run_at, id) WHERE leader_id IS NOT NULL;

-- The pace of each host that was ever asked for. look_at is when the claim looks at it next, a promise not to be late: infinity while
-- nothing is queued. lanes are the trains that are out: the dispatch of the last fetch of each, and when it is lost.
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

-- Leaders that finished with more followers than one transaction may finish; empty but for moments.
CREATE TABLE finished_leaders (
    id uuid NOT NULL,
    CONSTRAINT finished_leaders_pkey PRIMARY KEY (id)
);

-- Events committed with the change that caused them; the relay sends and deletes them.
CREATE TABLE outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    event      text        NOT NULL,
    created_at timestamptz NOT NULL,
    tenant     text        NOT NULL DEFAULT 'default',
    CONSTRAINT outbox_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- Messages that cannot be applied, with their bytes and the reason, so that nothing is dropped silently.
CREATE TABLE dead_letters (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    stream     text        NOT NULL,
    entry_id   text        NOT NULL,
    event      bytea       NOT NULL,
    body       bytea,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    redriven_at timestamptz,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_entry_once UNIQUE (stream, entry_id)
);

-- How many fetches were accepted and how many reached each terminal status, summed over shards, so that
-- connections do not queue for one row. Written in the transaction that changes the ledger.
CREATE TABLE fetch_counts (
    shard   integer NOT NULL,
    name    text    NOT NULL,
    fetches bigint  NOT NULL,
    CONSTRAINT fetch_counts_pkey PRIMARY KEY (shard, name),
    CONSTRAINT fetch_counts_name_is_known CHECK (name IN ('accepted', 'succeeded', 'failed', 'cancelled', 'expired'))
) WITH (fillfactor = 50);

-- The queue counts itself, whoever puts fetches in or takes them out: the backlog is known without counting it.
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

-- What was submitted together. errors are the first refused lines; is_whole is false where the request broke off.
CREATE TABLE batches (
    id         uuid        NOT NULL,
    tenant     text        NOT NULL,
    key_id     text,
    created_at timestamptz NOT NULL,
    accepted   bigint      NOT NULL,
    rejected   bigint      NOT NULL,
    errors     jsonb       NOT NULL,
    is_whole   boolean     NOT NULL,
    CONSTRAINT batches_pkey PRIMARY KEY (id),
    CONSTRAINT batches_accepted_is_a_count CHECK (accepted >= 0),
    CONSTRAINT batches_rejected_is_a_count CHECK (rejected >= 0)
);

-- How many fetches of a batch reached each terminal status, summed over shards, written in the transaction that finishes them.
CREATE TABLE batch_counts (
    batch_id uuid    NOT NULL,
    shard    integer NOT NULL,
    name     text    NOT NULL,
    fetches  bigint  NOT NULL,
    CONSTRAINT batch_counts_pkey PRIMARY KEY (batch_id, shard, name),
    CONSTRAINT batch_counts_name_is_known CHECK (name IN ('succeeded', 'failed', 'cancelled', 'expired'))
) WITH (fillfactor = 50);

-- How many fetches of a key entered the ledger and how many are terminal: the difference is what its limit bounds.
CREATE TABLE key_counts (
    key_id  text    NOT NULL,
    shard   integer NOT NULL,
    name    text    NOT NULL,
    fetches bigint  NOT NULL,
    CONSTRAINT key_counts_pkey PRIMARY KEY (key_id, shard, name),
    CONSTRAINT key_counts_name_is_known CHECK (name IN ('accepted', 'finished'))
) WITH (fillfactor = 50);

-- Keys of the API. The key itself is nowhere: digest is its SHA-256. Each change of any key takes the next revision, one change at a
-- time; none is ever deleted, since who follows the revisions would not learn of it, and the store's role may not.
CREATE TABLE api_keys (
    id                  text        NOT NULL,
    tenant              text        NOT NULL,
    name                text        NOT NULL,
    scopes              text[]      NOT NULL,
    digest              bytea       NOT NULL,
    previous_digest     bytea,
    previous_until      timestamptz,
    requests_per_minute integer,
    fetches_per_minute  integer,
    queued_fetches      integer,
    created_at          timestamptz NOT NULL,
    created_by          text        NOT NULL,
    expires_at          timestamptz,
    rotated_at          timestamptz,
    revoked_at          timestamptz,
    last_used_at        timestamptz,
    revision            bigint      NOT NULL,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_id_is_twelve_characters CHECK (id ~ '^[0-9A-Za-z]{12}$'),
    CONSTRAINT api_keys_digest_is_sha256 CHECK (octet_length(digest) = 32 AND octet_length(previous_digest) = 32),
    CONSTRAINT api_keys_previous_ends CHECK ((previous_digest IS NULL) = (previous_until IS NULL)),
    CONSTRAINT api_keys_limits_are_positive CHECK (requests_per_minute > 0 AND fetches_per_minute > 0 AND queued_fetches > 0)
);

CREATE UNIQUE INDEX api_keys_changed ON api_keys (revision);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, id);
CREATE INDEX api_keys_queue_limited ON api_keys (id) WHERE queued_fetches IS NOT NULL;

-- What origins say about robots, shared by all fetchers (RFC 9309); pruned some time after it expired.
CREATE TABLE robots_files (
    origin       text        NOT NULL,
    availability text        NOT NULL,
    status       integer,
    body         bytea       NOT NULL,
    fetched_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT robots_files_pkey PRIMARY KEY (origin),
    CONSTRAINT robots_files_availability_is_known CHECK (availability IN ('found', 'unavailable', 'unreachable'))
);

CREATE INDEX robots_files_expiring ON robots_files (expires_at);

-- Targets that were refused, with the addresses that nobody is shown. The store's role may insert and select, and nothing else.
CREATE TABLE audit_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL,
    fetch_id   uuid        NOT NULL,
    attempt    integer     NOT NULL,
    host       text        NOT NULL,
    verdict    text        NOT NULL,
    addresses  text[]      NOT NULL,
    peer       text,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id)
);

-- What operators did. The store's role may insert and select, and nothing else.
CREATE TABLE operator_log (
    id      bigint      GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL,
    actor   text        NOT NULL,
    action  text        NOT NULL,
    subject text        NOT NULL,
    detail  jsonb       NOT NULL,
    CONSTRAINT operator_log_pkey PRIMARY KEY (id)
);

-- fetch_counts as they were at the beginning of a minute, and the queue then: one row a minute, whichever store wrote it first.
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
