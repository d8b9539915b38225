"""Change detection, over real git clones: an image too many is fine, an image too few never is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from catalog import CatalogError, load_catalog
from plan import MAIN, Clone, Occasion, decide, occasion_from, outputs

ALL = ["store", "fetcher", "gateway"]
PULL_REQUEST = {"event": "pull_request", "ref": "refs/pull/7/merge"}
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")


class Checkout:
    """A git repository with a file for each service and each shared path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        for name in ALL:
            self.write(f"services/{name}/{name}/work.py", f"name = '{name}'\n" * 20)
            self.write(f"requirements/{name}.txt", f"{name}\n")
        self.write("libs/common/common/words.py", "words = 1\n")
        self.write("README.md", "hello\n")
        self.first = self.commit()

    def git(self, *arguments: str) -> str:
        """Run git here and return what it prints."""
        command = ["git", *IDENTITY, *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    def write(self, path: str, content: str) -> None:
        """Write a file, with its folders."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def commit(self) -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def mark_all(self) -> None:
        """As after a deploy of every service."""
        for name in ALL:
            self.git("tag", "--force", f"deployed/{name}")

    def changed(self, *, event: str = "push", ref: str = MAIN, base: str = "") -> list[str]:
        """The services that the plan wants built."""
        decisions = decide(Clone(self.folder), load_catalog(), Occasion(event, ref, base))
        return [decision.service for decision in decisions if decision.is_changed]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh repository with one commit on main."""
    return Checkout(tmp_path)


def test_first_push_builds_all(checkout: Checkout) -> None:
    assert checkout.changed() == ALL


def test_nothing_changed_since_the_deploy(checkout: Checkout) -> None:
    checkout.mark_all()
    assert checkout.changed() == []


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_new_branch_without_a_base_builds_all(checkout: Checkout, base: str) -> None:
    assert checkout.changed(ref="refs/heads/new", base=base) == ALL


def test_base_that_a_force_push_took_away_builds_all(checkout: Checkout) -> None:
    assert checkout.changed(**PULL_REQUEST, base="ab" * 20) == ALL


def test_force_push_on_main_compares_with_what_is_deployed(checkout: Checkout) -> None:
    checkout.write("services/gateway/gateway/work.py", "name = 'deployed'\n")
    checkout.commit()
    checkout.mark_all()
    checkout.git("reset", "--quiet", "--hard", checkout.first)
    checkout.write("README.md", "another history\n")
    checkout.commit()
    assert checkout.changed() == ["gateway"]


def test_histories_without_a_common_commit_build_all(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "--orphan", "other")
    checkout.write("README.md", "from nothing\n")
    checkout.commit()
    assert checkout.changed(**PULL_REQUEST, base=checkout.first) == ALL


@pytest.mark.parametrize("name", ALL)
def test_one_service_changes_alone(checkout: Checkout, name: str) -> None:
    checkout.mark_all()
    checkout.write(f"services/{name}/{name}/new.py", "")
    checkout.commit()
    assert checkout.changed() == [name]
    assert checkout.changed(**PULL_REQUEST, base=checkout.first) == [name]


@pytest.mark.parametrize("name", ALL)
def test_lock_of_one_service(checkout: Checkout, name: str) -> None:
    checkout.mark_all()
    checkout.write(f"requirements/{name}.txt", "newer\n")
    checkout.commit()
    assert checkout.changed() == [name]


@pytest.mark.parametrize(
    "path", ["libs/common/common/words.py", "deploy/pipeline/plan.py", ".github/workflows/ci-cd.yml", "Makefile", ".dockerignore"]
)
def test_shared_path_changes_all(checkout: Checkout, path: str) -> None:
    checkout.mark_all()
    checkout.write(path, "changed\n")
    checkout.commit()
    assert checkout.changed() == ALL


@pytest.mark.parametrize(
    "path",
    ["README.md", "docs/page.md", "libs/client/x.py", "services/store/README.md", "services/store/tests/test_x.py", "Makefile.x"],
)
def test_what_is_in_no_image_changes_nothing(checkout: Checkout, path: str) -> None:
    checkout.mark_all()
    checkout.write(path, "changed\n")
    checkout.commit()
    assert checkout.changed() == []


def test_rename_changes_the_old_owner_and_the_new_one(checkout: Checkout) -> None:
    checkout.mark_all()
    checkout.git("mv", "services/gateway/gateway/work.py", "services/fetcher/fetcher/moved.py")
    checkout.commit()
    assert checkout.changed() == ["fetcher", "gateway"]


def test_rename_into_a_folder_that_is_ignored_still_changes_the_service(checkout: Checkout) -> None:
    checkout.mark_all()
    checkout.write("services/gateway/tests/__init__.py", "")
    checkout.git("mv", "services/gateway/gateway/work.py", "services/gateway/tests/work.py")
    checkout.commit()
    assert checkout.changed() == ["gateway"]


def test_deleted_file_changes_its_service(checkout: Checkout) -> None:
    checkout.mark_all()
    checkout.git("rm", "--quiet", "services/fetcher/fetcher/work.py")
    checkout.commit()
    assert checkout.changed() == ["fetcher"]


def test_names_that_git_would_quote(checkout: Checkout) -> None:
    checkout.mark_all()
    checkout.write('services/store/store/ü "quoted"\n.py', "")
    checkout.commit()
    assert checkout.changed() == ["store"]


def test_failed_deploy_is_made_up_for_by_the_next_run(checkout: Checkout) -> None:
    checkout.mark_all()
    checkout.write("services/gateway/gateway/work.py", "name = 'newer'\n")
    checkout.commit()
    checkout.write("services/fetcher/fetcher/work.py", "name = 'newer'\n")
    checkout.commit()
    checkout.git("tag", "--force", "deployed/fetcher")
    assert checkout.changed() == ["gateway"]


def test_pull_request_is_not_blamed_for_what_main_did_meanwhile(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "-b", "change")
    checkout.write("services/gateway/gateway/work.py", "name = 'changed'\n")
    checkout.commit()
    checkout.git("checkout", "--quiet", "main")
    checkout.write("services/store/store/work.py", "name = 'meanwhile'\n")
    main = checkout.commit()
    checkout.git("checkout", "--quiet", "change")
    assert checkout.changed(**PULL_REQUEST, base=main) == ["gateway"]


@pytest.mark.parametrize("event", ["schedule", "workflow_dispatch"])
def test_weekly_run_builds_all(checkout: Checkout, event: str) -> None:
    checkout.mark_all()
    assert checkout.changed(event=event) == ALL


def test_base_that_looks_like_an_option_is_only_unknown(checkout: Checkout) -> None:
    assert checkout.changed(**PULL_REQUEST, base="--help") == ALL


def test_program_writes_outputs_for_the_next_jobs(checkout: Checkout, repository: Path) -> None:
    checkout.mark_all()
    checkout.write("services/gateway/gateway/work.py", "name = 'changed'\n")
    checkout.commit()
    output = checkout.folder / "github-output"
    environment = {
        "PATH": os.environ["PATH"], "GITHUB_EVENT_NAME": "push", "GITHUB_REF": MAIN, "GITHUB_OUTPUT": str(output),
    }  # fmt: skip
    command = [sys.executable, str(repository / "deploy/pipeline/plan.py")]
    done = subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert json.loads(lines["services"]) == ["gateway"]
    assert json.loads(lines["unchanged"]) == ["store", "fetcher"]
    assert done.stdout == output.read_text()
    assert "gateway: build (services/gateway/gateway/work.py differs from" in done.stderr


def test_empty_list_is_what_the_workflow_compares_with(checkout: Checkout) -> None:
    checkout.mark_all()
    decisions = decide(Clone(checkout.folder), load_catalog(), Occasion("push", MAIN, ""))
    assert outputs(decisions).splitlines()[0] == "services=[]"


def test_on_a_developers_machine_main_is_the_base() -> None:
    assert occasion_from({}).base == "origin/main"
    assert occasion_from({"GITHUB_EVENT_NAME": "push", "GITHUB_REF": MAIN}) == Occasion("push", MAIN, "")


def test_every_service_of_the_repository_is_in_the_catalog(repository: Path) -> None:
    folders = {file.parent.name for file in (repository / "services").glob("*/pyproject.toml")}
    assert set(load_catalog().names) == folders


def test_every_file_that_enters_an_image_is_watched(repository: Path) -> None:
    catalog = load_catalog()
    for service in catalog.services:
        watched = (*service.paths, *catalog.shared)
        dockerfile = (repository / "services" / service.name / "Dockerfile").read_text()
        copied = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY ") and "--from=" not in line]
        assert copied, f"{service.name}: no COPY was found; does this test still read Dockerfiles rightly?"
        for source in copied:
            assert source in watched or f"{source}/" in watched, f"{service.name}: {source} enters the image and is not watched"


def test_what_the_plan_ignores_is_what_the_build_leaves_out(repository: Path) -> None:
    left_out = (repository / ".dockerignore").read_text().splitlines()
    for name in load_catalog().ignored:
        assert f"**/{name.rstrip('/')}" in left_out


@pytest.mark.parametrize(
    "content",
    [
        '{"shared": [], "ignored": [], "services": {}}',
        '{"shared": [], "ignored": [], "services": {"x": {"paths": [], "settings": []}}}',
    ],
)
def test_catalog_that_would_skip_something_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "services.json"
    file.write_text(content)
    with pytest.raises(CatalogError):
        load_catalog(file)


def test_unknown_service_is_refused_by_name() -> None:
    with pytest.raises(CatalogError, match="no service 'nothing'"):
        load_catalog().service("nothing")
