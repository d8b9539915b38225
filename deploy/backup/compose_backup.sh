#!/bin/sh
# Copy the running containers' data into a new folder: the events Redis first, Postgres second. See docs/operations/backup.md.
set -eu
umask 077
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
manifest=$(dirname "$0")/../local/fetchwork_local/backup_manifest.py
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

mkdir -p "$folder"
[ -z "$(ls -A "$folder")" ] || { echo "error: $folder is not empty; name a new folder." >&2; exit 1; }

echo "Copying the events Redis ..." >&2
events=$(docker compose exec -T events redis-server --version)
postgres=$(docker compose exec -T postgres postgres --version)
events_from=$(now)
# Through a file: into a pipe redis-cli also writes the mark that ends a transfer, and nothing loads such a copy.
# shellcheck disable=SC2016  # the container's shell reads the secret
docker compose exec -T events sh -euc '
    copy=/data/backup.rdb
    trap "rm -f $copy" EXIT
    REDISCLI_AUTH="$(cat /run/secrets/backup)" redis-cli --user backup --rdb "$copy" >&2
    redis-check-rdb "$copy" >/dev/null
    cat "$copy"
' >"$folder/events.rdb"

echo "Copying Postgres ..." >&2
database_from=$(now)
docker compose exec -T postgres pg_dump --format=custom --compress=1 --username postgres fetchwork >"$folder/postgres.dump"

python3 "$manifest" write "$folder" events_from="$events_from" database_from="$database_from" events="$events" postgres="$postgres"
echo "Backed up into $folder." >&2
