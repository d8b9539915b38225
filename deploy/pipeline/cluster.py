"""Bring a released image onto the cluster: its migration first if it has one, then its secret and its manifests together.

A workload is applied through a throw-away kustomization in build/release, which lays the image's digest over the manifests of
the same commit. Waits until the cluster runs them, says what to do when it does not, and undoes nothing: see
docs/decisions/0012-kubernetes.md.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog import Service, Workload

FOLDER = Path("build/release")
NAMESPACE = "fetchwork"
COMMAND_TIMEOUT_SECONDS = 600
DELETE_TIMEOUT_SECONDS = 60
MIGRATION_TIMEOUT_SECONDS = 600.0  # more than the job's own activeDeadlineSeconds
MIGRATION_POLL_SECONDS = 2.0
ROLLOUT_TIMEOUT_SECONDS = 300  # more than the deployments' own progressDeadlineSeconds
LOG_LINES = 50
TRUE_CONDITIONS = 'jsonpath={.status.conditions[?(@.status=="True")].type}'


class ClusterError(Exception):
    """The cluster does not run what it was given, with the next step in words."""


@dataclass(frozen=True)
class Image:
    """The image that takes the place of `placeholder` in the manifests, and the commit that both are from."""

    placeholder: str
    name: str
    digest: str
    commit: str


def kustomization(workload: Workload, image: Image) -> str:
    """The workload's manifests with the image's digest, labelled with the commit. JSON, which is YAML too."""
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(workload.manifests, _folder(workload))],
        "images": [{"name": image.placeholder, "newName": image.name, "digest": image.digest}],
        "labels": [{"pairs": {"app.kubernetes.io/version": image.commit}}],
    }
    return json.dumps(document, indent=2) + "\n"


def secret(workload: Workload, environment: Mapping[str, str]) -> str:
    """The workload's settings as a Kubernetes secret, whose keys are file names for /run/secrets."""
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"fetchwork-{workload.name}", "namespace": NAMESPACE},
        "stringData": {f"fetchwork_{name.lower()}": environment[variable] for name, variable in workload.secret.items()},
    }
    return json.dumps(document)


@contextmanager
def open_cluster(access: str) -> Iterator["Cluster"]:
    """The cluster that the text of a kubeconfig leads to. The file that kubectl needs is private and gone afterwards."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # readable by its owner only
        file.write(access)
        file.flush()
        yield Cluster(kubeconfig=file.name)


@dataclass(frozen=True)
class Cluster:
    """What a release asks of a cluster, through kubectl. Every wait has a limit."""

    kubeconfig: str
    migration_timeout_seconds: float = MIGRATION_TIMEOUT_SECONDS
    migration_poll_seconds: float = MIGRATION_POLL_SECONDS

    def roll_out(self, service: Service, image: Image, *, secrets: Mapping[str, str]) -> None:
        """Migrate, apply, wait. `secrets` has the manifest of each workload's secret by the workload's name.

        Raises ClusterError when the migration fails, before anything of the service has changed, or when the service does not
        become available.
        """
        if service.migration:
            self._migrate(service.migration, image, manifest=secrets[service.migration.name])
        self._put(service.workload, image, manifest=secrets[service.workload.name])
        self._await_rollout(service.workload)

    def _migrate(self, workload: Workload, image: Image, *, manifest: str) -> None:
        """A job's template cannot change, so the last one goes first; with it goes one that a cancelled release left running."""
        self._run("delete", "job", workload.name, *_HERE, "--ignore-not-found", f"--timeout={DELETE_TIMEOUT_SECONDS}s")
        self._put(workload, image, manifest=manifest)
        if not self._completes(workload):
            self._run("logs", f"job/{workload.name}", *_HERE, f"--tail={LOG_LINES}", check=False)
            raise ClusterError(
                "the migration did not complete; its log is above. The service was not touched and goes on as it was. "
                "Each migration is one transaction, so none is half done: correct it, and release again."
            )

    def _completes(self, workload: Workload) -> bool:
        deadline = time.monotonic() + self.migration_timeout_seconds
        while time.monotonic() < deadline:
            conditions = self._run("get", "job", workload.name, *_HERE, "--output", TRUE_CONDITIONS).split()
            if "Complete" in conditions or "Failed" in conditions:
                return "Complete" in conditions
            time.sleep(self.migration_poll_seconds)  # between two looks; nothing tells us
        return False

    def _put(self, workload: Workload, image: Image, *, manifest: str) -> None:
        folder = _folder(workload)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kustomization.yaml").write_text(kustomization(workload, image), encoding="utf-8")
        self._run("apply", "--server-side", "--force-conflicts", "--filename", "-", text=manifest)
        self._run("apply", "--kustomize", str(folder))

    def _await_rollout(self, workload: Workload) -> None:
        deployment = f"deployment/{workload.name}"
        try:
            self._run("rollout", "status", deployment, *_HERE, f"--timeout={ROLLOUT_TIMEOUT_SECONDS}s")
        except subprocess.CalledProcessError as error:
            self._run("get", "pods", *_HERE, "--selector", f"app.kubernetes.io/name={workload.name}", check=False)
            raise ClusterError(
                f"{workload.name} did not become available in {ROLLOUT_TIMEOUT_SECONDS} s; its pods are above. The replicas of "
                "before go on serving, since none goes before a new one is ready, and nothing was undone. "
                f"See why: kubectl describe pods {' '.join(_HERE)} --selector app.kubernetes.io/name={workload.name}. "
                "Go forward with a corrected commit, or back by re-running the Deploy stage of the last good run, which brings "
                f"manifests and image back together; the pods alone: kubectl rollout undo {deployment} {' '.join(_HERE)}"
            ) from error

    def _run(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        command = ["kubectl", *arguments]
        print("+", " ".join(command), flush=True)
        done = subprocess.run(
            command, input=text, text=True, stdout=subprocess.PIPE, check=False, timeout=COMMAND_TIMEOUT_SECONDS,
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
        )  # fmt: skip
        print(done.stdout, end="", flush=True)
        if check:
            done.check_returncode()
        return done.stdout


_HERE = ("--namespace", NAMESPACE)


def _folder(workload: Workload) -> Path:
    return FOLDER / workload.name
