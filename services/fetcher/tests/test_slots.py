"""Slots: counted, waited for, given back, closed."""

from concurrent.futures import ThreadPoolExecutor

from fetcher.slots import Slots


def test_taken_slot_is_busy_until_it_is_given_back() -> None:
    slots = Slots(2)
    assert slots.take(timeout_seconds=0) and slots.take(timeout_seconds=0)
    assert (slots.busy, slots.free) == (2, 0)
    assert not slots.take(timeout_seconds=0.01)
    slots.give_back()
    assert (slots.busy, slots.free) == (1, 1)


def test_waiting_thread_gets_the_slot_that_is_given_back() -> None:
    slots = Slots(1)
    slots.take(timeout_seconds=0)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(slots.take, timeout_seconds=5)
        slots.give_back()
        assert waiting.result(timeout=5)
    assert slots.busy == 1


def test_closing_turns_every_waiting_thread_away() -> None:
    slots = Slots(1)
    slots.take(timeout_seconds=0)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(slots.take, timeout_seconds=30) for _ in range(3)]
        slots.close()
        assert not any(future.result(timeout=5) for future in waiting)
    slots.give_back()
    assert not slots.take(timeout_seconds=0)
