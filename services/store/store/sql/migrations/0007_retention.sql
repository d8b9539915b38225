-- What nothing refers to any more is pruned (docs/decisions/0035-backup-and-retention.md): which fetches refer to a content is asked
-- then, by the pruner and by Postgres itself.
CREATE INDEX fetches_of_content ON fetches (content_digest) WHERE content_digest IS NOT NULL;
