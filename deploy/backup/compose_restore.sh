#!/bin/sh
# Bring a backup into the containers' volumes, which must not be there yet. See docs/operations/backup.md.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [--unsafe-replace-data]" >&2; exit 2; }
folder=$1
manifest=$(dirname "$0")/../local/fetchwork_local/backup_manifest.py
project=$(docker compose config --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["name"])')
volumes() {
    for name in postgres-data events-data; do
        docker volume ls --quiet --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.volume=$name"
    done
}

echo "Checking the backup ..." >&2
python3 "$manifest" check "$folder"
[ -z "$(docker compose ps --all --quiet)" ] || { echo "error: the containers are there; docker compose down first." >&2; exit 1; }
if [ -n "$(volumes)" ]; then
    [ "${2:-}" = --unsafe-replace-data ] || {
        echo "error: there are data, which would be destroyed; --unsafe-replace-data does it." >&2
        exit 1
    }
    volumes | xargs docker volume rm >/dev/null
fi

echo "Loading the events ..." >&2
docker compose run --rm --no-deps --no-TTY --entrypoint sh events -euc '
    mkdir -m 700 /data/appendonlydir
    cd /data/appendonlydir
    cat >appendonly.aof.1.base.rdb
    echo "file appendonly.aof.1.base.rdb seq 1 type b" >appendonly.aof.manifest
    found=$(redis-check-aof appendonly.aof.manifest 2>&1) || { echo "$found" >&2; exit 1; }
' <"$folder/events.rdb"

echo "Restoring Postgres ..." >&2
docker compose up --detach --wait postgres
docker compose exec -T postgres pg_restore --clean --if-exists --exit-on-error --username postgres --dbname fetchwork \
    <"$folder/postgres.dump"
docker compose exec -T postgres psql --quiet --username postgres --dbname fetchwork --command ANALYZE
echo "Restored. Start the rest: docker compose up --detach --wait" >&2
