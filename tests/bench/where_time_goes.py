"""Where the CPU of fetcher and store goes during a batch: `make bench-profile`.

py-spy looks four hundred times a second at who holds the interpreter. For each function: its share, with all that it calls.
"""

import re
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from contest.pages import Pages, running_origin
from contest.rivals import ENVIRONMENT
from contest.stack_run import run_batch, running_stack
from fetchwork_local.stack import Stack

SERVICES = ("fetcher", "store")
WARM_UP, BATCH = 3_000, 10_000
LOOKS_A_SECOND = 400
LONGEST_SECONDS = 120
WRITE_SECONDS = 30
SHOWN = 60
_PLACE = re.compile(r":\d+\)$")
_PACKAGES = re.compile(r"[^ (]*/site-packages/")


def _record(stack: Stack, service: str, output: Path) -> subprocess.Popen[bytes]:
    options = ["--rate", str(LOOKS_A_SECOND), "--gil", "--format", "raw", "--duration", str(LONGEST_SECONDS)]
    pid = str(stack.status().processes[service])
    command = [str(ENVIRONMENT / "bin/py-spy"), "record", *options, "--output", str(output), "--pid", pid]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _shares(recorded: str) -> Counter[str]:
    """Looks at which a function was under way, by its name and file; `all` is how many looks there were."""
    shares: Counter[str] = Counter()
    for line in recorded.splitlines():
        stack, _, looks = line.rpartition(" ")
        frames = {_PACKAGES.sub("", _PLACE.sub(")", frame)) for frame in stack.split(";")}
        for frame in (*frames, "all"):
            shares[frame] += int(looks)
    return shares


def _profile(folder: Path, pages: Pages) -> None:
    with running_stack(folder / "home") as stack:
        run_batch(stack, pages.urls(WARM_UP))
        recording = {service: _record(stack, service, folder / service) for service in SERVICES}
        run = run_batch(stack, pages.urls(BATCH))
        for process in recording.values():
            process.send_signal(signal.SIGINT)
            process.wait(WRITE_SECONDS)
    for service in SERVICES:
        shares = _shares((folder / service).read_text())
        print(f"\n{service}: {1e6 * run.cpu_seconds[service] / BATCH:.0f} µs of CPU for a fetch, py-spy's own included")
        for name, looks in shares.most_common(SHOWN):
            print(f"{100 * looks / shares['all']:5.1f} %  {name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fetchwork-bench-") as temporary, running_origin() as origin:
        _profile(Path(temporary), origin)
