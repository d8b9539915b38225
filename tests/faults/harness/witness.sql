-- What the checker asks Postgres afterwards: it writes down every change that must happen once at most, or never.
-- Installed by the fault suite beside the schema, never part of it.

CREATE SCHEMA witness;

-- One row each time a fetch becomes terminal, and one each time something that was terminal changes or goes.
CREATE TABLE witness.endings (id uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE witness.regressions (id uuid NOT NULL, what text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());

-- How often a fetch had been given out when it left the queue.
CREATE TABLE witness.dispatches (id uuid NOT NULL, dispatch_seq integer NOT NULL);

-- One row for each fetch.finished event that was put into the outbox.
CREATE TABLE witness.announcements (event text NOT NULL);

CREATE FUNCTION witness.see_fetch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO witness.regressions (id, what) VALUES (OLD.id, 'deleted');
    ELSIF TG_OP = 'UPDATE' AND OLD.finished_at IS NOT NULL THEN
        IF (OLD.status, OLD.finished_at, OLD.response_status, OLD.content_digest, OLD.error_type)
            IS DISTINCT FROM (NEW.status, NEW.finished_at, NEW.response_status, NEW.content_digest, NEW.error_type) THEN
            INSERT INTO witness.regressions (id, what) VALUES (OLD.id, OLD.status || ' became ' || NEW.status);
        END IF;
    ELSIF NEW.finished_at IS NOT NULL THEN
        INSERT INTO witness.endings (id) VALUES (NEW.id);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER witness_fetch AFTER INSERT OR UPDATE OR DELETE ON fetches FOR EACH ROW EXECUTE FUNCTION witness.see_fetch();

CREATE FUNCTION witness.see_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.dispatches (id, dispatch_seq) VALUES (OLD.id, OLD.dispatch_seq);
    RETURN NULL;
END
$$;

CREATE TRIGGER witness_queue AFTER DELETE ON fetch_queue FOR EACH ROW EXECUTE FUNCTION witness.see_queue();

CREATE FUNCTION witness.see_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.announcements (event) VALUES (NEW.event);
    RETURN NULL;
END
$$;

CREATE TRIGGER witness_outbox AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION witness.see_outbox();
