"""Take each rule of the egress guard away, one at a time, and see whether a test notices. Exit 1 when one does not.

Works in copies of the packages in a temporary folder. Python and the libraries are loaded once; each mutant is a fork that
imports the copied packages anew. Arguments: words of the rules to try (all without), `--jobs N`.
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest
from rules import Mutant, mutants

TOP = Path(__file__).parent.parent.parent
COPIED = ("libs/common/common", "libs/common/tests", "services/fetcher/fetcher", "services/fetcher/tests")
TESTS = (
    "libs/common/tests/test_addresses.py",
    *(
        f"services/fetcher/tests/test_{name}.py"
        for name in ("settings", "resolver", "guard", "proxies", "corpus", "corpus_config", "connections")
    ),
)
TEXT_TESTS = ("libs/common/tests/test_urls.py", "libs/common/tests/test_urls_fuzz.py")
LIMIT_SECONDS = 90.0
PRELOADED = (
    "aiohttp aiohttp.web hypothesis.strategies httpx2 idna pydantic pydantic_settings structlog uvloop yarl zstandard brotli "
    "prometheus_client pytest_asyncio redis.asyncio"
).split()
CONFIGURATION = """[pytest]
addopts = --import-mode=importlib -q -x -p no:cacheprovider -p no:randomly
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one mutant fared."""

    mutant: Mutant
    verdict: str
    seconds: float


def main() -> int:
    """Try the mutants and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    for name in PRELOADED:
        importlib.import_module(name)
    chosen = [mutant for mutant in mutants(TOP) if not arguments.words or any(word in mutant.rule for word in arguments.words)]
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fetchwork-mutants-") as folder:
        places: Queue[Path] = Queue()
        for number in range(arguments.jobs):
            places.put(_copy(Path(folder) / str(number)))
        if (sound := _run(places.queue[0], TEXT_TESTS + TESTS)) != "survived":
            print(f"The tests fail without any mutant ({sound}).")
            return 2
        with ThreadPoolExecutor(arguments.jobs) as pool:
            results = []
            for result in pool.map(lambda mutant: _try(mutant, places), chosen):
                results.append(result)
                print(f"{result.verdict:9} {result.seconds:5.1f} s  {result.mutant.rule}", flush=True)
    survivors = [result for result in results if result.verdict not in ("caught", "hung")]
    print(f"{len(results)} mutants, {len(results) - len(survivors)} caught, {len(survivors)} survived, "
          f"{time.monotonic() - started_at:.0f} s")
    return 1 if survivors else 0


def _copy(place: Path) -> Path:
    for folder in COPIED:
        shutil.copytree(TOP / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "pytest.ini").write_text(CONFIGURATION)
    return place


def _try(mutant: Mutant, places: "Queue[Path]") -> Result:
    place, started_at = places.get(), time.monotonic()
    file = place / mutant.file
    source = file.read_text()
    try:
        if source.count(mutant.old) != 1:
            return Result(mutant=mutant, verdict=f"found {source.count(mutant.old)} times", seconds=0.0)
        file.write_text(source.replace(mutant.old, mutant.new))
        is_text = "/urls.py" in mutant.file
        verdict = _run(place, TEXT_TESTS + TESTS if is_text else TESTS + TEXT_TESTS)
        return Result(mutant=mutant, verdict=verdict, seconds=time.monotonic() - started_at)
    finally:
        file.write_text(source)
        places.put(place)


def _run(place: Path, tests: tuple[str, ...]) -> str:
    child = os.fork()
    if child == 0:
        _test(place, tests)
    ends_at = time.monotonic() + LIMIT_SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return {0: "survived", 1: "caught"}.get(code, f"exit {code}")
        if time.monotonic() > ends_at:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hung"
        time.sleep(0.02)


def _test(place: Path, tests: tuple[str, ...]) -> None:
    """In the child: nothing of the parent's is cleaned up here, whatever happens."""
    try:
        os.chdir(place)
        sys.dont_write_bytecode = True
        sys.path[:0] = [str(place / "libs/common"), str(place / "services/fetcher")]
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(place / ".hypothesis")
        output = os.open(place / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os._exit(int(pytest.main(["-c", "pytest.ini", "--rootdir", ".", f"--basetemp={place}/tmp", *tests])))
    finally:
        os._exit(70)


if __name__ == "__main__":
    sys.exit(main())
