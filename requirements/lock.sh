#!/bin/sh
# Resolve every requirements/*.in again and write the locks, with hashes, good for Python 3.11 and later on every platform.
# The development lock comes first and constrains the others, so that what is tested is what is shipped.
set -eu
cd "$(dirname "$0")/.."

lock() {
    name=$1
    shift
    echo "Locking requirements/$name.txt"
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header "$@" \
        --output-file "requirements/$name.txt" "requirements/$name.in"
}

lock dev --upgrade
for name in gateway fetcher store bench bootstrap; do
    lock "$name" --constraints requirements/dev.txt
done
