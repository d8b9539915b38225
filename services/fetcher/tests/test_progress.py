"""When a worker counts as stuck, by a clock of the test's own."""

from datetime import UTC, datetime

import pytest
from common.chassis.health import Unhealthy
from prometheus_client import CollectorRegistry

from fetcher.progress import Progress
from fetcher.slots import Slots

STUCK_SECONDS = 10.0
START = 1000.0


class Time:
    """Seconds since some start."""

    def __init__(self) -> None:
        self.seconds = START

    def now(self) -> float:
        """Monotonic."""
        return self.seconds

    def clock(self) -> datetime:
        """The same as a date."""
        return datetime.fromtimestamp(self.seconds, UTC)


class Rig:
    """A watched worker with one slot."""

    def __init__(self) -> None:
        self.time, self.slots, self.registry = Time(), Slots(1), CollectorRegistry()
        self.progress = Progress(
            self.slots, stuck_seconds=STUCK_SECONDS, clock=self.time.clock, now=self.time.now, registry=self.registry
        )

    def look_for(self, seconds: int, *, waiting: int | None, takes: bool = False) -> None:
        """One look a second."""
        for _ in range(seconds):
            self.time.seconds += 1
            if takes:
                self.progress.note_taken()
            self.progress.look(waiting)

    @property
    def timestamp(self) -> float | None:
        """What is exported."""
        return self.registry.get_sample_value("fetchwork_worker_progress_timestamp_seconds")


async def test_a_worker_that_takes_none_of_what_waits_is_stuck_and_stays_so() -> None:
    rig = Rig()
    rig.look_for(9, waiting=3)
    await rig.progress.check()
    rig.look_for(1, waiting=3)
    rig.look_for(5, waiting=0)
    assert rig.progress.is_stuck
    with pytest.raises(Unhealthy, match="took none of the waiting commands for 10 s, with slots free"):
        await rig.progress.check()


@pytest.mark.parametrize("waiting", [0, None], ids=["nothing waits", "the broker is away"])
def test_a_worker_that_could_take_nothing_is_not_stuck(waiting: int | None) -> None:
    rig = Rig()
    rig.look_for(100, waiting=waiting)
    assert not rig.progress.is_stuck and rig.timestamp == START + 100


def test_a_worker_without_a_free_slot_is_not_stuck() -> None:
    rig = Rig()
    assert rig.slots.take(timeout_seconds=0)
    rig.look_for(100, waiting=3)
    assert not rig.progress.is_stuck and rig.timestamp == START + 100


def test_a_worker_that_takes_commands_from_a_queue_that_never_empties_is_not_stuck() -> None:
    rig = Rig()
    rig.look_for(100, waiting=3, takes=True)
    assert not rig.progress.is_stuck
    rig.look_for(9, waiting=3)
    assert not rig.progress.is_stuck and rig.timestamp == START + 100


def test_time_counts_from_the_last_progress() -> None:
    rig = Rig()
    for _ in range(5):
        rig.look_for(9, waiting=3)
        rig.look_for(1, waiting=0)
    assert not rig.progress.is_stuck


def test_a_worker_that_was_frozen_gets_its_time_anew() -> None:
    rig = Rig()
    rig.look_for(1, waiting=3)
    rig.time.seconds += 60
    rig.look_for(9, waiting=3)
    assert not rig.progress.is_stuck
    rig.look_for(2, waiting=3)
    assert rig.progress.is_stuck
