"""A release as the real program, with stand-ins for what would reach out; they write down what they were asked."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMIT, DIGEST = "c" * 40, "sha256:" + "d" * 64
SECRETS = {name: f"secret-{name.lower()}" for name in ("DATABASE_URL", "EVENTS_URL", "BROKER_URL", "STORE_TOKEN", "API_KEY")}
IDENTITY = "https://github.com/owner/fetchwork/.github/workflows/ci-cd.yml@refs/heads/main"
REFERENCE = f"docker.io/house/fetchwork-gateway@{DIGEST}"
STAND_IN = """#!{python}
import json, os, sys
text = "" if sys.stdin.isatty() else sys.stdin.read()
config = os.environ.get("KUBECONFIG", "")
access = open(config).read() if config else ""
with open({log!r}, "a") as log:
    log.write(json.dumps({{"command": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "text": text, "access": access}}) + "\\n")
print(os.environ.get("ANSWERS", "deployment.apps/one"))
sys.exit(1 if os.environ.get("FAILS", "nothing at all") in " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]) else 0)
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
    done = runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="the-access")
    assert done.returncode == 0, done.stderr
    first, _, secret, image, status, last = runner.calls
    assert first["command"][-1] == f"docker://docker.io/house/fetchwork-store:sha-{COMMIT}"
    assert last["command"][-1] == "docker://docker.io/house/fetchwork-store:main"
    assert json.loads(secret["text"])["stringData"] == {
        f"fetchwork_{name.lower()}": SECRETS[name] for name in ("DATABASE_URL", "EVENTS_URL", "BROKER_URL", "STORE_TOKEN")
    }
    assert [call["access"] for call in (secret, image, status)] == ["the-access"] * 3
    assert f"*=docker.io/house/fetchwork-store@{DIGEST}" in image["command"]
    assert "app.kubernetes.io/name=store" in image["command"] and "app.kubernetes.io/name=store" in status["command"]
    seen = " ".join(runner.commands) + done.stdout + done.stderr
    assert not any(value in seen for value in (*SECRETS.values(), "the-access"))


def test_access_to_the_cluster_leaves_no_file_behind(runner: Runner) -> None:
    temporary = runner.folder / "temporary"
    temporary.mkdir()
    runner.run("release.py", "deploy", "store", **SECRETS, KUBECONFIG_CONTENT="the-access", TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []


def test_gateway_never_gets_the_database_or_the_broker(runner: Runner) -> None:
    runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="the-access")
    assert set(json.loads(runner.calls[2]["text"])["stringData"]) == {
        "fetchwork_events_url", "fetchwork_store_token", "fetchwork_api_key",
    }  # fmt: skip


def test_without_a_cluster_it_is_published_and_says_so(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS)
    assert done.returncode == 0
    assert "nothing is rolled out" in done.stdout
    assert {call["command"][0] for call in runner.calls} == {"skopeo"}


def test_missing_secret_is_named_before_anything_happens(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "store", **(SECRETS | {"DATABASE_URL": "", "BROKER_URL": ""}))
    assert done.returncode == 1
    assert "store cannot be deployed without the secrets DATABASE_URL, BROKER_URL" in done.stderr
    assert runner.calls == []


def test_roll_out_that_fails_fails_the_step(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="x", FAILS="kubectl rollout")
    assert done.returncode == 1
    assert not any(command.endswith(":main") for command in runner.commands)


def test_cluster_without_the_service_is_no_success(runner: Runner) -> None:
    done = runner.run("release.py", "deploy", "gateway", **SECRETS, KUBECONFIG_CONTENT="x", ANSWERS="")
    assert done.returncode == 1 and "has no deployment on the cluster" in done.stderr
    assert not any("set image" in command or command.endswith(":main") for command in runner.commands)


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
