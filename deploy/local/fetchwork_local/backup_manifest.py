"""What a backup consists of, so that a damaged or unfinished one is refused before anything is destroyed for it.

Nothing but the standard library: it is also a script, for backups of the containers.

    python3 backup_manifest.py write FOLDER events_from=TIME database_from=TIME events=VERSION postgres=VERSION
    python3 backup_manifest.py check FOLDER
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FORMAT = 1
NAME = "manifest.json"
EVENTS = "events.rdb"
DATABASE = "postgres.dump"
CHUNK_BYTES = 1024 * 1024
FACTS = frozenset({"events_from", "database_from", "events", "postgres"})


class BackupDamaged(Exception):
    """This is no backup, or not a whole one; the message says why."""


def write_manifest(folder: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """Write the manifest, last of all: without one a folder is no backup.

    Both files are synced to disk before. `facts` are `events_from` and `database_from`, the moments (RFC 3339) that each copy
    shows, and `events` and `postgres`, the versions of the servers.
    """
    if facts.keys() != FACTS:
        raise ValueError(f"a manifest tells {', '.join(sorted(FACTS))}")
    files = {name: _describe(folder / name) for name in (EVENTS, DATABASE)}
    manifest = {"format": FORMAT, **facts, "ended_at": datetime.now(UTC).isoformat(), "files": files}
    with (folder / NAME).open("x", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return manifest


def check_backup(folder: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are what they were. Raises BackupDamaged."""
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
        format_number, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        kind = type(error).__name__
        raise BackupDamaged(f"{folder / NAME} cannot be read ({kind}): this is no backup, or it broke off.") from error
    if format_number != FORMAT:
        raise BackupDamaged(f"{folder} is a backup of format {format_number}, and this release reads {FORMAT}.")
    for name in (EVENTS, DATABASE):
        try:
            found = _describe(folder / name)
        except OSError as error:
            raise BackupDamaged(f"{folder / name} cannot be read: {error.strerror}.") from error
        if found != files.get(name):
            raise BackupDamaged(f"{folder / name} is not what it was when the backup was made; use another backup.")
    return dict(manifest)


def _describe(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        return {"bytes": file.tell(), "sha256": digest.hexdigest()}


def main(verb: str, folder: str, *facts: str) -> None:
    """Exits with 1 and a sentence when the backup is damaged."""
    try:
        if verb == "write":
            write_manifest(Path(folder), dict(fact.split("=", 1) for fact in facts))
        check_backup(Path(folder))
    except BackupDamaged as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
