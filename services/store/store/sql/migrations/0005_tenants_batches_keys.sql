-- Tenants own fetches and batches; API keys with their limits; lists, labels and counts by batch and by key. Expand only: a store of the
-- release before works on it, and what it lets in is of the tenant `default`.
ALTER TABLE fetches
    ADD COLUMN tenant   text NOT NULL DEFAULT 'default',
    ADD COLUMN key_id   text,
    ADD COLUMN batch_id uuid,
    ADD COLUMN labels   text[],
    ADD COLUMN attrs    jsonb;

CREATE INDEX fetches_of_tenant ON fetches (tenant, id);
CREATE INDEX fetches_of_host ON fetches (tenant, host, id);
CREATE INDEX fetches_of_batch ON fetches (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX fetches_pending ON fetches (tenant, id) WHERE finished_at IS NULL;
CREATE INDEX fetches_without_response ON fetches (tenant, status, id) WHERE status IN ('failed', 'cancelled', 'expired');

CREATE TABLE fetch_labels (
    tenant   text NOT NULL,
    label    text NOT NULL,
    fetch_id uuid NOT NULL,
    CONSTRAINT fetch_labels_pkey PRIMARY KEY (tenant, label, fetch_id),
    CONSTRAINT fetch_labels_fetch_id_fkey FOREIGN KEY (fetch_id) REFERENCES fetches (id) ON DELETE CASCADE
);

CREATE INDEX fetch_labels_of_fetch ON fetch_labels (fetch_id);

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

CREATE TABLE batch_counts (
    batch_id uuid    NOT NULL,
    shard    integer NOT NULL,
    name     text    NOT NULL,
    fetches  bigint  NOT NULL,
    CONSTRAINT batch_counts_pkey PRIMARY KEY (batch_id, shard, name),
    CONSTRAINT batch_counts_name_is_known CHECK (name IN ('succeeded', 'failed', 'cancelled', 'expired'))
) WITH (fillfactor = 50);

CREATE TABLE key_counts (
    key_id  text    NOT NULL,
    shard   integer NOT NULL,
    name    text    NOT NULL,
    fetches bigint  NOT NULL,
    CONSTRAINT key_counts_pkey PRIMARY KEY (key_id, shard, name),
    CONSTRAINT key_counts_name_is_known CHECK (name IN ('accepted', 'finished'))
) WITH (fillfactor = 50);

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

ALTER TABLE outbox ADD COLUMN tenant text NOT NULL DEFAULT 'default';

-- Default privileges let the store's role write every table. A key is revoked and never deleted: gateways learn of changes alone.
DO $$
DECLARE
    writer name;
BEGIN
    FOR writer IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema AND table_name = 'api_keys' AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE DELETE, TRUNCATE ON api_keys FROM %I', writer);
    END LOOP;
END
$$;
