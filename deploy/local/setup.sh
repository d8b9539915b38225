#!/bin/sh
# Make .venv and put into it everything that requirements/dev.txt pins, and our own packages, editable.
# Safe to run again at any time, also after it was interrupted. PYTHON=... picks the interpreter.
set -eu
cd "$(dirname "$0")/../.."

PACKAGES="libs/common libs/client deploy/local services/gateway services/fetcher services/store"
LOG=.venv/setup.log

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    say "error: Python 3.11 or later, with its venv module, was not found (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11})."
    say "Install it (on Debian and Ubuntu: apt install python3-venv), or name one: make setup PYTHON=/path/to/python3"
    exit 1
}

# A checkout that was moved keeps a .venv whose programs point to the old place.
is_ours() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 && fits .venv/bin/python &&
        [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" = "$(pwd -P)/.venv" ] &&
        grep -q "$(pwd -P)/.venv" .venv/bin/activate
}

make_environment() {
    is_ours && return
    python=$(find_python)
    say "Creating .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
}

# uv is many times faster. It does not read pip's configuration: where the registry can only be reached with that, pip does it.
install() {
    if [ -x .venv/bin/uv ] && .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode "$@" >>"$LOG" 2>&1; then
        return
    fi
    say "uv could not do it (see $LOG); pip is at it, which takes some minutes"
    by_pip "$@" || {
        tail -n 20 "$LOG" >&2
        say "error: the installation failed; the whole story is in $LOG"
        exit 1
    }
}

by_pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" >>"$LOG" 2>&1; }

make_environment
: >"$LOG"
export TMPDIR="$PWD/.venv/tmp" # builds leave lock files in the temporary folder
mkdir -p "$TMPDIR"
say "Installing the installer"
by_pip --require-hashes -r requirements/bootstrap.txt || say "uv is not to be had here (see $LOG)"
say "Installing what requirements/dev.txt pins"
install --require-hashes -r requirements/dev.txt
say "Installing our own packages"
# shellcheck disable=SC2046  # one argument a word is wanted
install --no-deps --no-build-isolation $(printf -- '-e %s ' $PACKAGES)
rm -rf "$TMPDIR"
say "Ready."
