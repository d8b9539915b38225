"""The previous release of each service: which commit it was made of, and its image, built again from that commit alone."""

import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

PREVIOUS = "FETCHWORK_SKEW_PREVIOUS"
"""Names a commit to take for the previous release of every service."""
GIT_TIMEOUT_SECONDS = 60
BUILD_TIMEOUT_SECONDS = 900
SHORT = 12


class NoSuchCommit(Exception):
    """The commit that was asked for is not in this repository."""


def find_previous(repository: Path, services: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """The commit by service: the one that was asked for, else that of the tag which the last deploy moved; absent without one."""
    asked = environment.get(PREVIOUS, "")
    if asked:
        commit = _commit(repository, asked)
        if commit is None:
            raise NoSuchCommit(f"{PREVIOUS}={asked} names no commit of this repository")
        return dict.fromkeys(services, commit)
    tagged = {service: _commit(repository, f"refs/tags/deployed/{service}") for service in services}
    return {service: commit for service, commit in tagged.items() if commit is not None}


def image_name(service: str, commit: str) -> str:
    """What the image of a service is called here when it was made of a commit."""
    return f"fetchwork/{service}:skew-{commit[:SHORT]}"


def build_image(repository: Path, service: str, commit: str) -> str:
    """Build it with the Dockerfile of that commit, from an export of that commit; the working tree has no part in it."""
    name = image_name(service, commit)
    with tempfile.TemporaryDirectory(prefix="fetchwork-skew-") as folder:
        tree = export_commit(repository, commit, Path(folder))
        command = ("docker", "build", "--quiet", "--file", f"services/{service}/Dockerfile", "--tag", name)
        _run(*command, "--build-arg", f"REVISION={commit}", ".", folder=tree, timeout=BUILD_TIMEOUT_SECONDS)
    return name


def export_commit(repository: Path, commit: str, folder: Path) -> Path:
    """Write the files of a commit into a new folder inside `folder`, and say which."""
    archive, tree = folder / "commit.tar", folder / "tree"
    _run("git", "archive", "--format=tar", f"--output={archive}", commit, folder=repository, timeout=GIT_TIMEOUT_SECONDS)
    with tarfile.open(archive) as opened:
        opened.extractall(tree, filter="data")
    return tree


def remove_image(name: str) -> None:
    """Forget the name; what it was built of stays in the engine's cache."""
    subprocess.run(["docker", "image", "rm", name], capture_output=True, timeout=GIT_TIMEOUT_SECONDS, check=False)


def _commit(repository: Path, reference: str) -> str | None:
    """The commit that a reference leads to; None without one, or without a repository."""
    question = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"]
    answer = subprocess.run(question, cwd=repository, capture_output=True, text=True, timeout=GIT_TIMEOUT_SECONDS, check=False)
    return answer.stdout.strip() or None


def _run(*command: str, folder: Path, timeout: float) -> None:
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
    assert answer.returncode == 0, f"{' '.join(command[:2])} failed:\n{answer.stderr[-4000:]}"
