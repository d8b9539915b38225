"""What is said about something long while it goes on."""

from fetchwork._progress import Pace


def test_first_look_knows_no_speed() -> None:
    assert Pace().text(done=10, total=1000, failed=1, now=0) == "10 of 1,000 done, 1 failed"


def test_speed_counts_from_the_first_look() -> None:
    pace = Pace()
    pace.text(done=500, total=1000, failed=0, now=100)
    assert pace.text(done=600, total=1000, failed=0, now=110) == "600 of 1,000 done, 0 failed, 10.0/s, about 40 s left"


def test_long_times_are_told_in_minutes_and_hours() -> None:
    pace = Pace()
    pace.text(done=0, total=100_000, failed=0, now=0)
    assert pace.text(done=10, total=100_000, failed=0, now=1).endswith("about 2 h 46 min left")
    assert pace.text(done=99_000, total=100_000, failed=0, now=9_900).endswith("about 1 min 40 s left")
