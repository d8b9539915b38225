"""A disk of a few megabytes for one server, that can be filled and emptied."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fetchwork_local import valkey

from harness.cluster import Cluster

SIZE_MEGABYTES = 16
MOUNT_TIMEOUT_SECONDS = 10
PIECE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    """Where it is mounted."""

    path: Path

    def fill(self) -> None:
        """Leave no page free."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while True:
                os.write(descriptor, b"\0" * PIECE_BYTES)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Make room again."""
        self._filler.unlink()

    def serve(self, cluster: Cluster, name: str) -> None:
        """Let `events` or `broker` keep its data here, from its first start on."""
        port, secrets = getattr(cluster.state.ports, name), cluster.state.secrets
        password = secrets.events_password if name == "events" else secrets.broker_password
        valkey.write_configuration(self.path / name, port=port, password=password, is_durable=name == "events")
        cluster.nodes[name].command = valkey.valkey_command(self.path / name)

    @property
    def _filler(self) -> Path:
        return self.path / "filler"


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mount one, and unmount it whatever happens; skips without the right to. Open it before the cluster: it is to end after."""
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={SIZE_MEGABYTES}m,mode=0700", "fetchwork-faults", str(path))
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, timeout=MOUNT_TIMEOUT_SECONDS, check=False)
        reason = mounted.stderr.strip()
    except OSError as error:
        reason = str(error)
    if reason:
        pytest.skip(f"SKIPPED A FULL DISK: no tmpfs can be mounted ({reason}); run as root, with CAP_SYS_ADMIN in a container")
    try:
        yield SmallDisk(path=path)
    finally:
        subprocess.run(("umount", "--lazy", str(path)), capture_output=True, timeout=MOUNT_TIMEOUT_SECONDS, check=False)
