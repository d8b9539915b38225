"""Give a process a wall clock of its own that can jump while it runs. Its monotonic clock stays true.

By libfaketime, but for the fetcher: below that, Celery's worker takes ten messages a second, whatever its clock says. It gets a
false clock in Python.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.mutants import MUTANT
from harness.surroundings import CLOCK_FILE

FOLDER = Path("/usr/lib")
LIBRARY = "libfaketimeMT.so.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseClock:
    """A file that says how wrong the clock is, read at each look at it."""

    path: Path

    def jump(self, seconds: int) -> None:
        """From now on the clock is so far ahead of the true one, or behind it."""
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n", encoding="ascii")
        beside.rename(self.path)


def give_clock(cluster: Cluster, name: str) -> FalseClock:
    """A process gets a clock of its own from its next start on, right until it jumps."""
    clock = FalseClock(path=cluster.folder / f"{name}.clock")
    clock.jump(0)
    if cluster.nodes[name].role == "fetcher":
        cluster.change(name, each_time=True, **{MUTANT: "false_clock", CLOCK_FILE: str(clock.path)})
        return clock
    library = next(FOLDER.glob(f"*/faketime/{LIBRARY}"), None)
    if library is None:
        pytest.skip(f"SKIPPED clock jumps: no {LIBRARY} below {FOLDER}; install libfaketime")
    cluster.change(
        name,
        each_time=True,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(clock.path),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        FAKETIME_DONT_RESET="1",
    )
    return clock
