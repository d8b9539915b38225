-- Responses that may answer other fetches, fetches that wait for an equal one, methods sent at most once, robots.txt files shared
-- by all fetchers, and an append-only log of refused targets. Expand only: a store of the release before works on it.
ALTER TABLE fetches
    ADD COLUMN detected_media_type   text,
    ADD COLUMN charset               text,
    ADD COLUMN charset_source        text,
    ADD COLUMN coding                text,
    ADD COLUMN redirects             jsonb,
    ADD COLUMN fetched_at            timestamptz,
    ADD COLUMN sharing_key           bytea,
    ADD COLUMN served_by_kind        text,
    ADD COLUMN served_by_id          uuid,
    ADD COLUMN served_by_age_seconds double precision,
    ADD CONSTRAINT fetches_sharing_key_needs_response CHECK (sharing_key IS NULL OR (response_status IS NOT NULL AND fetched_at IS NOT NULL)),
    ADD CONSTRAINT fetches_served_by_is_whole CHECK (
        (served_by_kind IS NULL) = (served_by_id IS NULL) AND (served_by_kind IS NULL) = (served_by_age_seconds IS NULL)
    ),
    ADD CONSTRAINT fetches_served_by_kind_is_known CHECK (served_by_kind IN ('cache', 'coalesced', 'not_modified'));

CREATE INDEX fetches_reusable ON fetches (sharing_key, fetched_at DESC) WHERE sharing_key IS NOT NULL;

ALTER TABLE fetch_queue
    ADD COLUMN at_most_once   boolean NOT NULL DEFAULT false,
    ADD COLUMN sharing_key    bytea,
    ADD COLUMN coalesce_key   bytea,
    ADD COLUMN leader_id      uuid,
    ADD COLUMN revalidates_id uuid;

CREATE INDEX fetch_queue_leaders ON fetch_queue (coalesce_key, id) WHERE coalesce_key IS NOT NULL AND leader_id IS NULL;
CREATE INDEX fetch_queue_followers ON fetch_queue (leader_id, id) WHERE leader_id IS NOT NULL;
CREATE INDEX fetch_queue_followers_due ON fetch_queue (run_at, id) WHERE leader_id IS NOT NULL;

CREATE TABLE finished_leaders (
    id uuid NOT NULL,
    CONSTRAINT finished_leaders_pkey PRIMARY KEY (id)
);

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

-- Default privileges let the store's role write every table. What is in the audit log stays there, whoever takes the store over.
DO $$
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = current_schema AND table_name = 'audit_log' AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE ALL ON audit_log FROM %I', reader);
        EXECUTE format('GRANT SELECT, INSERT ON audit_log TO %I', reader);
    END LOOP;
END
$$;
