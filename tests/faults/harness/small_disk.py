"""A disk of a case's own that can be filled to the last byte: a tmpfs, mounted where a server keeps its data."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHUNK_BYTES = 64 * 1024
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    """What is mounted at `folder`."""

    folder: Path

    @property
    def free_bytes(self) -> int:
        """What can still be written."""
        return shutil.disk_usage(self.folder).free

    def fill(self) -> None:
        """Leave not a byte; also what others gave back since the last time."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            for size in (CHUNK_BYTES, 1):
                try:
                    while filler.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        """Give the space back."""
        (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, spare_bytes: int) -> Iterator[SmallDisk]:
    """Move a folder to a disk with so much room beside what is in it. Unmounts at the end, when nobody uses it any longer."""
    if os.geteuid() != 0:
        pytest.skip("SKIPPED full disks: mounting a tmpfs needs root")
    aside, owner = folder.with_name(f"{folder.name}.moved"), folder.stat()
    used_bytes = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    options = f"size={used_bytes + spare_bytes},mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "fetchwork-faults", str(folder)], capture_output=True)
    if mounting.returncode != 0:
        pytest.skip(f"SKIPPED full disks: this container may not mount a tmpfs: {mounting.stderr.decode().strip()}")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True, timeout=TIMEOUT_SECONDS)
        yield SmallDisk(folder=folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=TIMEOUT_SECONDS)
