"""A release as the real program, with stand-ins for what would reach out; they write down what they were asked."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from catalog import load_catalog
from cluster import Cluster, ClusterError, Image

COMMIT, DIGEST = "c" * 40, "sha256:" + "d" * 64
FOR_SERVICES = ("DATABASE_URL", "EVENTS_URL", "BROKER_URL", "STORE_TOKEN", "API_KEY")
SECRETS = {name: f"secret-{name.lower()}" for name in (*FOR_SERVICES, "MIGRATION_DATABASE_URL")}
IDENTITY = "https://github.com/owner/fetchwork/.github/workflows/ci-cd.yml@refs/heads/main"
REFERENCE = f"docker.io/house/fetchwork-gateway@{DIGEST}"
STAND_IN = """#!{python}
import json, os, sys
text = "" if sys.stdin.isatty() else sys.stdin.read()
config = os.environ.get("KUBECONFIG", "")
access = (open(config).read() if config else "") + os.environ.get("KUBECONFIG_CONTENT", "")
with open({log!r}, "a") as log:
    log.write(json.dumps({{"command": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "text": text, "access": access}}) + "\\n")
print(os.environ.get("ANSWERS", "SuccessCriteriaMet Complete"))
sys.exit(1 if os.environ.get("FAILS", "nothing at all") in " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]) else 0)
"""


SLOW_JOB = """#!{python}
import sys
answers = open("answers").read().split("\\n")
if "get job" in " ".join(sys.argv):
    print(answers[0])
    open("answers", "w").write("\\n".join(answers[1:]))
"""


class Runner:
    """A folder as the deploy job has it, and programs that write down what they were asked."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self._programs = folder, repository / "deploy/pipeline"
        self._log = folder / "log"
        self._log.touch()
        (folder / "bin").mkdir()
        for name in ("skopeo", "cosign", "gh", "kubectl", "docker", "syft"):
            self.program(name, STAND_IN.format(python=sys.executable, log=str(self._log)))
        images = folder / "build/images"
        images.mkdir(parents=True)
        (images / "gateway.sha256").write_text(f"{DIGEST.removeprefix('sha256:')}  fetchwork-gateway\n{'e' * 64}  gateway.tar\n")
        (images / "store.sha256").write_text(f"{DIGEST.removeprefix('sha256:')}  fetchwork-store\n{'e' * 64}  store.tar\n")

    def program(self, name: str, text: str) -> None:
        """Put a program on the path."""
        file = self.folder / "bin" / name
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the pipeline's programs as the job does."""
        given = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "owner/fetchwork", "GITHUB_SHA": COMMIT,
            "REGISTRY_NAMESPACE": "house",
        } | environment  # fmt: skip
        command = [sys.executable, str(self._programs / program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Everything that was asked, in order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    @property
    def commands(self) -> list[str]:
        """The command lines of it."""
        return [" ".join(call["command"]) for call in self.calls]


@pytest.fixture
def runner(tmp_path: Path, repository: Path) -> Runner:
    """A fresh runner with an image of the gateway and one of the store."""
    return Runner(tmp_path, repository)


def test_check_asks_for_our_workflow_and_this_commit_on_main(runner: Runner) -> None:
    assert runner.run("release.py", "check", "gateway").returncode == 0
    [command] = runner.commands
    assert command.startswith("gh attestation verify build/images/gateway.tar --repo owner/fetchwork")
    assert "--signer-workflow owner/fetchwork/.github/workflows/_image.yml" in command
    assert f"--source-ref refs/heads/main --source-digest {COMMIT}" in command


@pytest.mark.parametrize("step", ["push", "sign", "verify"])
def test_until_it_is_verified_an_image_is_named_by_digest_alone(runner: Runner, step: str) -> None:
    assert runner.run("release.py", step, "gateway").returncode == 0
    assert runner.commands and all(REFERENCE in command for command in runner.commands)
    assert not any("fetchwork-gateway:" in command for command in runner.commands)


def test_verify_wants_the_exact_identity_and_all_three_proofs(runner: Runner) -> None:
    runner.run("release.py", "verify", "gateway")
    signature, bill, provenance = runner.commands
    assert signature.startswith("cosign verify ") and bill.startswith("cosign verify-attestation --type cyclonedx ")
    assert all(f"--certificate-identity {IDENTITY} " in command for command in (signature, bill))
    assert provenance.startswith(f"gh attestation verify oci://{REFERENCE} ")
    assert "regexp" not in " ".join(runner.commands)


@pytest.mark.parametrize("proof", ["cosign verify ", "cosign verify-attestation", "gh attestation"])
def test_one_missing_proof_stops_the_release(runner: Runner, proof: str) -> None:
    done = runner.run("release.py", "verify", "gateway", FAILS=proof)
    assert done.returncode == 1
    assert proof.strip() in runner.commands[-1]


def test_deploy_tags_and_rolls_out_with_secrets_out_of_sight(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="the-access")
    assert done.returncode == 0, done.stderr
    first, secret, manifests, status, last = runner.calls
    assert first["command"][-1] == f"docker://docker.io/house/fetchwork-gateway:sha-{COMMIT}"
    assert last["command"][-1] == "docker://docker.io/house/fetchwork-gateway:main"
    # Without --server-side, kubectl would keep a copy of the secret in an annotation.
    assert secret["command"] == ["kubectl", "apply", "--server-side", "--force-conflicts", "--filename", "-"]
    assert manifests["command"] == ["kubectl", "apply", "--kustomize", "build/release/gateway"]
    assert status["command"][:4] == ["kubectl", "rollout", "status", "deployment/gateway"]
    assert any(argument.startswith("--timeout=") for argument in status["command"])
    assert [call["access"] for call in runner.calls] == ["", *["the-access"] * 3, ""]
    written = "".join(path.read_text() for path in (runner.folder / "build/release").rglob("*.*"))
    seen = " ".join(runner.commands) + done.stdout + done.stderr + written
    assert written and not any(value in seen for value in (*SECRETS.values(), "the-access"))


@pytest.mark.parametrize(("service", "workload"), [("store", "store"), ("store", "migrate"), ("gateway", "gateway")])
def test_manifests_of_the_checkout_get_the_released_digest(
    runner: Runner, repository: Path, service: str, workload: str
) -> None:
    runner.run("release.py", "deploy", service, **SECRETS, KUBECONFIG_CONTENT="x")
    written = json.loads((runner.folder / "build/release" / workload / "kustomization.yaml").read_text())
    assert written["images"] == [
        {"name": f"fetchwork/{service}", "newName": f"docker.io/house/fetchwork-{service}", "digest": DIGEST}
    ]
    [resource] = written["resources"]
    manifests = (repository / "build/release" / workload / resource).resolve()
    assert manifests == repository / "deploy/kubernetes/overlays/production" / workload
    assert (manifests / "kustomization.yaml").is_file()
    assert written["labels"] == [{"pairs": {"app.kubernetes.io/version": COMMIT}}]


def test_schema_is_migrated_as_its_owner_before_the_store_changes(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="the-access")
    assert done.returncode == 0, done.stderr
    _, delete, owner, migrate, wait, secret, store, status, _ = runner.calls
    assert delete["command"][:4] == ["kubectl", "delete", "job", "migrate"] and "--ignore-not-found" in delete["command"]
    assert _secret(owner) == ("fetchwork-migrate", {"fetchwork_database_url": SECRETS["MIGRATION_DATABASE_URL"]})
    assert migrate["command"][-1] == "build/release/migrate"
    assert wait["command"][:4] == ["kubectl", "get", "job", "migrate"]
    settings = ("DATABASE_URL", "EVENTS_URL", "BROKER_URL", "STORE_TOKEN")
    assert _secret(secret) == ("fetchwork-store", {f"fetchwork_{name.lower()}": SECRETS[name] for name in settings})
    assert store["command"][-1] == "build/release/store"
    assert status["command"][3] == "deployment/store"


def _secret(call: dict[str, Any]) -> tuple[str, dict[str, str]]:
    document = json.loads(call["text"])
    assert (document["kind"], document["metadata"]["namespace"]) == ("Secret", "fetchwork")
    return document["metadata"]["name"], document["stringData"]


@pytest.mark.parametrize("trouble", [{"ANSWERS": "FailureTarget Failed"}, {"FAILS": "build/release/migrate"}])
def test_migration_that_fails_leaves_the_store_as_it_was(runner: Runner, trouble: dict[str, str]) -> None:
    done = runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="x", **trouble)
    assert done.returncode == 1
    assert not any("build/release/store" in command or "rollout" in command for command in runner.commands)
    assert not any(command.endswith(":main") for command in runner.commands)


def test_migration_that_fails_shows_its_log_and_what_to_do(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="x", ANSWERS="Failed")
    assert runner.commands[-1].startswith("kubectl logs job/migrate ")
    assert "correct it, and release again" in done.stderr


@pytest.mark.parametrize(("answers", "seconds", "is_well"), [(["", "", "Complete"], 30.0, True), ([""], 0.05, False)])
def test_migration_is_waited_for_with_a_limit(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, answers: list[str], seconds: float, is_well: bool
) -> None:
    (runner.folder / "answers").write_text("\n".join(answers))
    runner.program("kubectl", SLOW_JOB.format(python=sys.executable))
    monkeypatch.chdir(runner.folder)
    monkeypatch.setenv("PATH", f"{runner.folder / 'bin'}:{os.environ['PATH']}")
    cluster = Cluster(kubeconfig="none", migration_timeout_seconds=seconds, migration_poll_seconds=0.01)
    image = Image("fetchwork/store", "docker.io/house/fetchwork-store", digest=DIGEST, commit=COMMIT)
    with nullcontext() if is_well else pytest.raises(ClusterError, match="did not complete"):
        cluster.roll_out(load_catalog().service("store"), image, secrets={"store": "", "migrate": ""})
    assert not is_well or (runner.folder / "answers").read_text() == ""


def test_access_to_the_cluster_leaves_no_file_behind(runner: Runner) -> None:
    temporary = runner.folder / "temporary"
    temporary.mkdir()
    runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="the-access", TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []


def test_gateway_never_gets_the_database_or_the_broker(runner: Runner) -> None:
    runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="the-access")
    name, settings = _secret(runner.calls[1])
    assert (name, set(settings)) == ("fetchwork-gateway", {"fetchwork_events_url", "fetchwork_store_token", "fetchwork_api_key"})


def test_without_a_cluster_it_is_published_and_says_so(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS)
    assert done.returncode == 0
    assert "nothing is rolled out" in done.stdout
    assert {call["command"][0] for call in runner.calls} == {"skopeo"}


def test_missing_secret_is_named_before_anything_happens(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "store", **(SECRETS | {"BROKER_URL": "", "MIGRATION_DATABASE_URL": ""}))
    assert done.returncode == 1
    assert "store cannot be deployed without the secrets BROKER_URL, MIGRATION_DATABASE_URL" in done.stderr
    assert runner.calls == []


def test_roll_out_that_fails_fails_the_step_and_says_what_to_do(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="x", FAILS="kubectl rollout")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "kubectl rollout undo deployment/gateway --namespace fetchwork" in done.stderr
    assert runner.commands[-1].startswith("kubectl get pods ")
    assert not any("undo" in command for command in runner.commands), "nothing is undone without anyone having asked"
    assert not any(command.endswith(":main") for command in runner.commands)


def test_mark_moves_the_tag_of_this_service_only(runner: Runner) -> None:
    assert runner.run("release.py", "mark", "gateway").returncode == 0
    [move] = runner.commands
    assert "--method PATCH repos/owner/fetchwork/git/refs/tags/deployed/gateway" in move
    assert f"sha={COMMIT}" in move and "force=true" in move


def test_mark_makes_the_tag_when_there_is_none(runner: Runner) -> None:
    assert runner.run("release.py", "mark", "gateway", FAILS="PATCH").returncode == 0
    assert f"--method POST repos/owner/fetchwork/git/refs -f ref=refs/tags/deployed/gateway -f sha={COMMIT}" in runner.commands[1]


def test_mark_that_cannot_be_set_fails(runner: Runner) -> None:
    assert runner.run("release.py", "mark", "gateway", FAILS="gh api").returncode == 1


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_SHA", "REGISTRY_NAMESPACE"])
def test_release_never_guesses_where_to(runner: Runner, name: str) -> None:
    done = runner.run("release.py", "push", "gateway", **{name: ""})
    assert done.returncode == 1 and f"not set: {name}" in done.stderr
    assert runner.calls == []


@pytest.mark.parametrize("program", ["release.py", "image.py"])
def test_unknown_step_is_refused(runner: Runner, program: str) -> None:
    assert runner.run(program, "everything", "gateway").returncode == 2
    assert runner.calls == []


DOCKER = """#!{python}
import json, sys
options = dict(zip(sys.argv, sys.argv[1:]))
open(options["--output"].split("dest=")[1], "wb").write(b"the image")
json.dump({{"containerimage.digest": "{digest}"}}, open(options["--metadata-file"], "w"))
json.dump(sys.argv[1:], open("asked.json", "w"))
"""


def test_image_is_built_into_a_file_with_both_digests(runner: Runner) -> None:
    runner.program("docker", DOCKER.format(python=sys.executable, digest=DIGEST))
    done = runner.run("image.py", "archive", "gateway")
    assert done.returncode == 0, done.stderr
    archive = hashlib.sha256(b"the image").hexdigest()
    lines = (runner.folder / "build/images/gateway.sha256").read_text().splitlines()
    assert lines == [f"{'d' * 64}  fetchwork-gateway", f"{archive}  gateway.tar"]
    asked = json.loads((runner.folder / "asked.json").read_text())
    assert asked[:4] == ["buildx", "build", "--file", "services/gateway/Dockerfile"]
    assert f"REVISION={COMMIT}" in asked and "--push" not in asked


def test_bill_of_materials_reads_the_archive(runner: Runner) -> None:
    assert runner.run("image.py", "sbom", "gateway").returncode == 0
    [command] = runner.commands
    assert "scan oci-archive:build/images/gateway.tar" in command and "cyclonedx-json=build/images/gateway.cdx.json" in command
