"""The rules of the house that a machine can check: openings, sizes, names, generated files, locks."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

LINES_LIMIT = 400
FUNCTION_LINES_LIMIT = 60
DRAWERS = re.compile(r"\A_?(utils?|helpers?|misc|base|core|managers?)\.py\Z")
MACHINE_PATH = re.compile(r"[\"'(=]/(work|Users|mnt)/[^\s\"']*")
REGISTRY_ADDRESS = re.compile(r"https?://[^\s\"']+(\.whl|\.tar\.gz|/simple)|--(extra-)?index-url|--find-links")


def _tracked(repository: Path, *patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return [repository / name for name in listed.stdout.split("\0") if name and (repository / name).exists()]


@pytest.fixture(scope="module")
def modules(repository: Path) -> list[Path]:
    """Every Python file of the repository."""
    found = _tracked(repository, "*.py")
    assert len(found) > 80
    return found


def test_every_module_opens_with_what_it_is_responsible_for(modules: list[Path]) -> None:
    silent = [path for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_every_public_function_and_class_of_the_product_says_what_it_promises(modules: list[Path]) -> None:
    product = [path for path in modules if "tests" not in path.parts and path.name != "conftest.py"]
    silent = [f"{path}:{node.lineno} {node.name}" for path in product for node in _public(path) if not ast.get_docstring(node)]
    assert silent == []


def test_files_and_functions_stay_small(modules: list[Path]) -> None:
    long_files = [path for path in modules if len(path.read_text(encoding="utf-8").splitlines()) > LINES_LIMIT]
    functions = [(path, node) for path in modules for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    long_functions = [
        f"{path}:{node.lineno} {node.name}"
        for path, node in functions
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_LIMIT
    ]
    assert (long_files, long_functions) == ([], [])


def test_there_are_no_drawers(modules: list[Path]) -> None:
    assert [path for path in modules if DRAWERS.search(path.name)] == []


def test_nothing_waits_in_a_way_that_may_lose_a_cancellation(modules: list[Path]) -> None:
    """`asyncio.wait_for` may, before Python 3.12 (CPython issue 86296); `asyncio.timeout` does not."""
    product = [path for path in modules if "tests" not in path.parts]
    assert [path for path in product if "asyncio.wait_for(" in path.read_text(encoding="utf-8")] == []


def test_locks_carry_hashes_and_no_addresses(repository: Path) -> None:
    locks = _tracked(repository, "requirements/*.txt")
    assert len(locks) >= 4
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert not REGISTRY_ADDRESS.search(text), lock
        pins = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==\S+", text, re.MULTILINE)
        assert pins and text.count("--hash=sha256:") >= len(pins), lock


def test_the_lock_of_npm_carries_hashes_and_no_addresses(repository: Path) -> None:
    packages = json.loads((repository / "deploy/openapi/package-lock.json").read_text(encoding="utf-8"))["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert len(installed) > 100
    assert [name for name, package in installed.items() if "resolved" in package or "integrity" not in package] == []


def test_nothing_names_a_place_on_one_machine(repository: Path) -> None:
    tracked = _tracked(repository, "*")
    texts = {path: path.read_text(encoding="utf-8", errors="ignore") for path in tracked if path.is_file()}
    named = {str(path): found[0] for path, text in texts.items() if (found := MACHINE_PATH.search(text))}
    assert named == {}


def test_generated_files_are_up_to_date(repository: Path) -> None:
    check = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=repository, capture_output=True, text=True, check=False, timeout=60
    )
    assert check.returncode == 0, check.stderr


def test_decisions_name_files_that_exist(repository: Path) -> None:
    index = (repository / "docs/decisions/README.md").read_text(encoding="utf-8")
    decisions = sorted((repository / "docs/decisions").glob("0*.md"))
    assert decisions
    for decision in decisions:
        text = decision.read_text(encoding="utf-8")
        assert decision.name in index
        governed = re.findall(r"`((?:services|libs|deploy|tests)/[^`{]+)`", text[text.index("Governs:") :])
        assert governed and all((repository / name).exists() for name in governed), decision.name


def _public(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    nodes = [*tree.body, *(child for node in classes for child in node.body)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")]
