"""Every case of the fault matrix has a test that carries its number, and each draws its chances from the session's seed."""

import re
from pathlib import Path

import pytest

CASES = 36
FOLDER = Path(__file__).parent


@pytest.mark.quick
def test_every_case_of_the_matrix_is_tried() -> None:
    names = "\n".join(file.read_text(encoding="utf-8") for file in FOLDER.glob("test_*.py"))
    assert {int(number) for number in re.findall(r"^(?:async )?def test_case_(\d+)_", names, re.M)} == set(range(1, CASES + 1))


@pytest.mark.quick
def test_chances_come_from_the_seed_of_the_session() -> None:
    drawn = re.compile(r"\brandom\.(?!Random\b)\w+|\bsecrets\.(?:token|rand|choice)|SystemRandom")
    files = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.rglob("*.py") if file != Path(__file__)}
    found = {name for name, text in files.items() if drawn.search(text)}
    assert found == {"origin.py"}, "only the origin's bodies are unlike each time"
