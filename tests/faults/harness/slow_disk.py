"""A disk that takes long for each fsync, for a process that is told to preload it."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("slow_fsync.c")
BUILD_TIMEOUT_SECONDS = 60


def slow_fsync(folder: Path, *, seconds: float) -> Mapping[str, str]:
    """The variables of a process whose every fsync takes so long, by a library built in `folder`. Skips without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("SKIPPED slow fsync: there is no C compiler; install gcc and libc6-dev")
    library = folder / "slow_fsync.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_SECONDS)
    return {"LD_PRELOAD": str(library), "SLOW_FSYNC_MS": str(round(seconds * 1000))}
