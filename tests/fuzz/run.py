"""Try the public API of a stack of its own with generated requests (Schemathesis): every check, every phase.

`make fuzz-api` runs it. The exit code is that of Schemathesis: not 0 where anything was found. A seed gives the same requests
again; what the stack makes of them may still differ, since ids and times do.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from fetchwork_local.ports import free_port
from fetchwork_local.stack import Stack, StackStatus

HERE = Path(__file__).parent
SEALED = (sys.executable, str(HERE / "sealed.py"))
SERVICES = {name: (*SEALED, name) for name in ("store", "fetcher", "gateway")}
ENVIRONMENT = {
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": "",
    "FETCHWORK_API_KEY": "",
    "FETCHWORK_WAIT_LIMIT_SECONDS": "1",  # whatever a generated `wait` asks for
    "FETCHWORK_TICKETS_PER_KEY_LIMIT": "100000",
    "FETCHWORK_LOG_LEVEL": "warning",
}
EXAMPLES = 100
"""Requests of an operation that the phase of random ones makes; other phases make some more."""
RUN_TIMEOUT_SECONDS = 3600.0


def run(*, seed: int, examples: int, more: list[str]) -> int:
    """Start a stack, try it, stop it. Returns the exit code of Schemathesis."""
    print(f"Seed {seed}; `--seed {seed}` makes these requests again.", flush=True)
    with tempfile.TemporaryDirectory(prefix="fetchwork-fuzz-") as folder:
        stack = Stack(Path(folder) / "home", port=free_port(), environment=ENVIRONMENT, services=SERVICES)
        status = stack.start()
        try:
            return _try(status, seed=seed, examples=examples, more=more, folder=Path(folder))
        finally:
            stack.stop()


def _try(status: StackStatus, *, seed: int, examples: int, more: list[str], folder: Path) -> int:
    options = [f"--seed={seed}", f"--max-examples={examples}", "--checks=all", "--no-color", *more]
    command = [
        *SEALED, "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run", f"{status.gateway}/openapi.json",
        *options,
    ]  # fmt: skip
    environment = {**os.environ, "FETCHWORK_FUZZED_KEY": status.api_key or "", "PYTHONPATH": str(HERE)}
    return subprocess.run(command, env=environment, cwd=folder, timeout=RUN_TIMEOUT_SECONDS).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="makes the requests of an earlier run again")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="random requests of each operation")
    given, others = parser.parse_known_args()
    chosen = given.seed if given.seed is not None else random.SystemRandom().randrange(2**32)
    sys.exit(run(seed=chosen, examples=given.examples, more=others))
