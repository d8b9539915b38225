"""Which commit counts as the previous release, and that nothing but that commit gets into its image."""

import subprocess
from pathlib import Path

import pytest
from previous import PREVIOUS, NoSuchCommit, export_commit, find_previous, image_name

SERVICES = ("gateway", "store")
GIT_TIMEOUT_SECONDS = 30
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")


class History:
    """A small repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        """What git says."""
        command = ["git", *IDENTITY, *arguments]
        answer = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=GIT_TIMEOUT_SECONDS, check=True
        )
        return answer.stdout.strip()

    def commit(self, text: str) -> str:
        """One more commit; returns its name."""
        (self.folder / "file").write_text(text, encoding="utf-8")
        self.git("add", "file")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A repository without a release."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return History(folder)


def test_without_a_release_there_is_no_previous_one(history: History, tmp_path: Path) -> None:
    history.commit("first")
    assert find_previous(history.folder, SERVICES, {}) == {}
    assert find_previous(tmp_path, SERVICES, {PREVIOUS: ""}) == {}, "nor in an export without history"


def test_each_service_has_its_own_last_deploy(history: History) -> None:
    first = history.commit("first")
    history.git("tag", "deployed/gateway")
    second = history.commit("second")
    history.git("tag", "--annotate", "--message", "m", "deployed/store")
    history.commit("third")
    assert find_previous(history.folder, SERVICES, {}) == {"gateway": first, "store": second}
    history.git("tag", "--delete", "deployed/gateway")
    assert find_previous(history.folder, SERVICES, {}) == {"store": second}


def test_a_named_commit_stands_for_every_service(history: History) -> None:
    first = history.commit("first")
    history.git("tag", "deployed/store")
    second = history.commit("second")
    assert find_previous(history.folder, SERVICES, {PREVIOUS: "HEAD"}) == {"gateway": second, "store": second}
    assert find_previous(history.folder, SERVICES, {PREVIOUS: "HEAD~1"}) == {"gateway": first, "store": first}
    with pytest.raises(NoSuchCommit, match="HEAD~9"):
        find_previous(history.folder, SERVICES, {PREVIOUS: "HEAD~9"})


def test_the_working_tree_has_no_part_in_it(history: History, tmp_path: Path) -> None:
    commit = history.commit("as released")
    (history.folder / "file").write_text("as edited", encoding="utf-8")
    (history.folder / "other").write_text("not committed", encoding="utf-8")
    tree = export_commit(history.folder, commit, tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tree.iterdir()} == {"file": "as released"}


def test_an_image_is_named_after_its_commit() -> None:
    assert image_name("store", "0123456789abcdef0123") == "fetchwork/store:skew-0123456789ab"
