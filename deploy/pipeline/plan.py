"""Change detection: which services need a new image, and why.

    python3 deploy/pipeline/plan.py

Each service has a base of its own. On main it is the tag `deployed/<service>`, which moves only when that service's deploy has
succeeded; so a failed or cancelled deploy is made up for by the next run. Anywhere else it is the merge base with what the
change goes to. What cannot be known (no tag, no base, a base that is not in this clone) counts as changed: an image too many
costs minutes, an image too few is a release that did not happen.

Reads GITHUB_EVENT_NAME, GITHUB_REF and PLAN_BASE; writes `services=[…]` and `unchanged=[…]` to standard output and, if there is
one, to GITHUB_OUTPUT; says the reasons on standard error. Never asks anything but the local clone.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog import Catalog, Service, load_catalog

MAIN = "refs/heads/main"
GIT_TIMEOUT_SECONDS = 60
REBUILDS_ALL = frozenset({"schedule", "workflow_dispatch"})


@dataclass(frozen=True)
class Occasion:
    """Why the pipeline runs: the event, the ref, and the commit that the change is based on, if the event names one."""

    event: str
    ref: str
    base: str

    @property
    def is_on_main(self) -> bool:
        """Whether this run may deploy, so that what is deployed is what to compare with."""
        return self.event == "push" and self.ref == MAIN


@dataclass(frozen=True)
class Decision:
    """Whether one service needs a new image, and the reason in words."""

    service: str
    is_changed: bool
    reason: str


class Clone:
    """What is asked of the local clone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def commit(self, name: str) -> str | None:
        """The commit that a name stands for; nothing when this clone does not have it."""
        if not name or name.strip("0") == "":
            return None
        return self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")

    def merge_base(self, one: str, other: str) -> str | None:
        """The last commit that both have; nothing when they share no history."""
        return self._ask("merge-base", one, other)

    def changed_paths(self, base: str, head: str = "HEAD") -> tuple[str, ...]:
        """Every path that differs. A rename counts as both its paths, so that a file that moves away changes its old owner."""
        listing = self._run("diff", "--name-only", "--no-renames", "-z", base, head, "--").stdout
        return tuple(path for path in listing.split("\0") if path)

    def _ask(self, *arguments: str) -> str | None:
        answer = self._run(*arguments, check=False)
        return answer.stdout.strip() or None if answer.returncode == 0 else None

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(self._folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=GIT_TIMEOUT_SECONDS)


def decide(clone: Clone, catalog: Catalog, occasion: Occasion) -> tuple[Decision, ...]:
    """One decision a service, in order of deploy."""
    return tuple(_decide_one(clone, catalog, occasion, service) for service in catalog.services)


def _decide_one(clone: Clone, catalog: Catalog, occasion: Occasion, service: Service) -> Decision:
    if occasion.event in REBUILDS_ALL:
        return Decision(service.name, True, f"{occasion.event} rebuilds all")
    base = _base(clone, occasion, service.name)
    if base is None:
        return Decision(service.name, True, f"no base: {_missing(occasion, service.name)}")
    path = _first_relevant(clone.changed_paths(base), watched=(*service.paths, *catalog.shared), ignored=catalog.ignored)
    if path is None:
        return Decision(service.name, False, f"nothing of it differs from {base[:12]}")
    return Decision(service.name, True, f"{path} differs from {base[:12]}")


def _base(clone: Clone, occasion: Occasion, service: str) -> str | None:
    if occasion.is_on_main:
        return clone.commit(_marker(service))
    base = clone.commit(occasion.base)
    return clone.merge_base(base, "HEAD") if base else None


def _missing(occasion: Occasion, service: str) -> str:
    if occasion.is_on_main:
        return f"{_marker(service)} does not exist"
    return f"{occasion.base} is not in this clone" if occasion.base else "none was given"


def _marker(service: str) -> str:
    return f"refs/tags/deployed/{service}"


def _first_relevant(changed: Iterable[str], *, watched: tuple[str, ...], ignored: tuple[str, ...]) -> str | None:
    relevant = (path for path in changed if any(_covers(watch, path) for watch in watched))
    return next((path for path in relevant if not any(_leaves_out(name, path) for name in ignored)), None)


def _leaves_out(name: str, path: str) -> bool:
    *folders, file = path.split("/")
    return name[:-1] in folders if name.endswith("/") else name == file


def _covers(watch: str, path: str) -> bool:
    return path.startswith(watch) if watch.endswith("/") else path == watch


def outputs(decisions: tuple[Decision, ...]) -> str:
    """The lines for GITHUB_OUTPUT."""
    changed = [decision.service for decision in decisions if decision.is_changed]
    unchanged = [decision.service for decision in decisions if not decision.is_changed]
    return f"services={json.dumps(changed)}\nunchanged={json.dumps(unchanged)}\n"


def occasion_from(environment: Mapping[str, str]) -> Occasion:
    """The occasion that GitHub's variables tell; on a developer's machine, a change that goes to origin/main."""
    return Occasion(
        event=environment.get("GITHUB_EVENT_NAME", "local"),
        ref=environment.get("GITHUB_REF", ""),
        base=environment.get("PLAN_BASE") or ("" if "GITHUB_EVENT_NAME" in environment else "origin/main"),
    )


def main() -> int:
    """Print the plan for this checkout."""
    decisions = decide(Clone(Path.cwd()), load_catalog(), occasion_from(os.environ))
    for decision in decisions:
        print(f"{decision.service}: {'build' if decision.is_changed else 'keep'} ({decision.reason})", file=sys.stderr)
    lines = outputs(decisions)
    sys.stdout.write(lines)
    if file := os.environ.get("GITHUB_OUTPUT"):
        with Path(file).open("a", encoding="utf-8") as output:
            output.write(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
