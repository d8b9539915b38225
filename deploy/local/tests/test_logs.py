"""Reading logs while supervisord writes and rotates them."""

from pathlib import Path

import pytest
from fetchwork_local.logs import follow, tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three lines."""
    path = tmp_path / "gateway.log"
    path.write_text("one\ntwo\nthree\n")
    return path


def test_tail_is_the_last_lines(log: Path, tmp_path: Path) -> None:
    assert tail(log, lines=2) == ["two", "three"]
    assert tail(log, lines=0) == []
    assert tail(tmp_path / "missing.log", lines=2) == []


def test_follow_shows_only_what_is_added_and_only_whole_lines(log: Path) -> None:
    turns = iter([False, False, True])

    def interrupted() -> bool:
        with log.open("a") as file:
            file.write("fo" if log.stat().st_size == 14 else "ur\nfi")
        return next(turns)

    assert [line for _, line in follow([log], interrupted=interrupted)] == ["four"]


def test_follow_goes_on_after_rotation(log: Path) -> None:
    turns = iter([False, True])

    def interrupted() -> bool:
        if not log.with_suffix(".log.1").exists():
            log.rename(log.with_suffix(".log.1"))
            log.write_text("after\n")
        return next(turns)

    assert [line for _, line in follow([log], interrupted=interrupted)] == ["after"]


def test_follow_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    turns = iter([False, True])

    def interrupted() -> bool:
        (tmp_path / "late.log").write_text("late\n")
        return next(turns)

    assert [line for _, line in follow([tmp_path / "late.log"], interrupted=interrupted)] == ["late"]
