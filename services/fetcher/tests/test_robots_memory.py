"""What a process keeps by origin: within its weight, the least recently used leaves first."""

from fetcher.politeness.robots_memory import ENTRY_WEIGHT, BoundedMemory


def kept(memory: BoundedMemory[str]) -> str:
    return "".join(origin for origin in "abcd" if memory.get(origin) is not None)


def test_least_recently_used_leaves_for_what_comes() -> None:
    memory: BoundedMemory[str] = BoundedMemory(3 * ENTRY_WEIGHT + 10)
    for origin in "abc":
        memory.put(origin, origin.upper())
    assert memory.get("a") == "A"
    memory.put("d", "D", weight=10)  # to the last character
    assert len(memory) == 3 and kept(memory) == "acd"
    memory.put("b", "B", weight=1)
    assert kept(memory) == "bd"


def test_weight_is_of_what_is_kept_now() -> None:
    memory: BoundedMemory[str] = BoundedMemory(2 * ENTRY_WEIGHT + 10)
    memory.put("a", "A", weight=10)
    for _ in range(3):
        memory.put("b", "B")
    assert kept(memory) == "ab"
    memory.forget("a")
    memory.forget("a")
    memory.put("c", "C", weight=10)
    assert kept(memory) == "bc" and len(memory) == 2


def test_what_is_too_heavy_drives_nobody_out_but_its_own_past() -> None:
    memory: BoundedMemory[str] = BoundedMemory(2 * ENTRY_WEIGHT)
    memory.put("a", "A")
    memory.put("b", "B")
    memory.put("b", "B", weight=ENTRY_WEIGHT + 1)
    assert kept(memory) == "a"
    memory.put("c", "C", weight=ENTRY_WEIGHT)
    assert kept(memory) == "c"
