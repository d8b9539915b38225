"""Release one service whose image the Docker stage has built: check, push, sign, verify, deploy, mark.

    python3 deploy/pipeline/release.py check gateway

Each step is a command of its own, so that a step gets only the secrets it needs. An image gets a tag, and a cluster hears of
it, only after `verify`; the marker `deployed/<service>` moves only in `mark`, which is the last step. Never builds anything.

GITHUB_REPOSITORY, GITHUB_SHA and REGISTRY_NAMESPACE are needed by every step. Secrets are read from the environment and handed
on by standard input or a private file, never on a command line.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog import Service, load_catalog
from cluster import ClusterError, Image, open_cluster, secret
from image import archive_file, image_digest, sbom_file

ISSUER = "https://token.actions.githubusercontent.com"
STEP_TIMEOUT_SECONDS = 600


class ReleaseError(Exception):
    """A release that must not go on, with the reason in words."""


@dataclass(frozen=True)
class Release:
    """One image on its way: whose, from which commit, and where to."""

    service: Service
    digest: str
    repository: str
    commit: str
    namespace: str

    @property
    def image(self) -> str:
        """The image's name without tag or digest."""
        return f"docker.io/{self.namespace}/fetchwork-{self.service.name}"

    @property
    def reference(self) -> str:
        """The image by digest: the only way in which a step names it."""
        return f"{self.image}@{self.digest}"


Command = list[str]


def check_commands(release: Release) -> list[Command]:
    """The archive is what our own image workflow made from this commit; asked before anything leaves."""
    return [_provenance(release, str(archive_file(release.service.name)))]


def push_commands(release: Release) -> list[Command]:
    """To the registry by digest, without a tag, so that nobody can pull it by name yet."""
    source = f"oci-archive:{archive_file(release.service.name)}"
    return [["skopeo", "copy", "--preserve-digests", source, f"docker://{release.reference}"]]


def sign_commands(release: Release) -> list[Command]:
    """A signature and the bill of materials, both bound to the digest."""
    bill = str(sbom_file(release.service.name))
    return [
        ["cosign", "sign", "--yes", release.reference],
        ["cosign", "attest", "--yes", "--type", "cyclonedx", "--predicate", bill, release.reference],
    ]


def verify_commands(release: Release) -> list[Command]:
    """What the registry holds was signed by this workflow on main, lists its content, and was built by the image workflow."""
    identity = ["--certificate-identity", _workflow_identity(release), "--certificate-oidc-issuer", ISSUER]
    return [
        ["cosign", "verify", *identity, release.reference],
        ["cosign", "verify-attestation", "--type", "cyclonedx", *identity, release.reference],
        _provenance(release, f"oci://{release.reference}"),
    ]


def tag_command(release: Release, tag: str) -> Command:
    """Give the image a tag."""
    return ["skopeo", "copy", "--preserve-digests", f"docker://{release.reference}", f"docker://{release.image}:{tag}"]


def _provenance(release: Release, subject: str) -> Command:
    return [
        "gh", "attestation", "verify", subject, "--repo", release.repository,
        "--signer-workflow", f"{release.repository}/.github/workflows/_image.yml",
        "--source-ref", "refs/heads/main", "--source-digest", release.commit, "--deny-self-hosted-runners",
    ]  # fmt: skip


def _workflow_identity(release: Release) -> str:
    return f"https://github.com/{release.repository}/.github/workflows/ci-cd.yml@refs/heads/main"


def _run(command: Command, *, check: bool = True) -> int:
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, check=check, timeout=STEP_TIMEOUT_SECONDS).returncode


def _run_all(commands: list[Command]) -> None:
    for command in commands:
        _run(command)


def check(release: Release) -> None:
    """Refuse what our own image workflow did not make from this commit on main."""
    _run_all(check_commands(release))


def push(release: Release) -> None:
    """Bring the image to the registry, without a tag."""
    _run_all(push_commands(release))


def sign(release: Release) -> None:
    """Sign the image and its bill of materials."""
    _run_all(sign_commands(release))


def verify(release: Release) -> None:
    """Refuse what is not signed, listed and attested as we would do it."""
    _run_all(verify_commands(release))


def deploy(release: Release) -> None:
    """Give the image its commit's tag, roll it out, and only then call it `main`.

    Without KUBECONFIG_CONTENT the release ends at the registry, and says so.
    """
    access = os.environ.pop("KUBECONFIG_CONTENT", "")  # so that no program inherits it
    secrets = _secrets(release.service, os.environ)
    _run(tag_command(release, f"sha-{release.commit}"))
    if access:
        image = Image(f"fetchwork/{release.service.name}", release.image, digest=release.digest, commit=release.commit)
        with open_cluster(access) as cluster:
            cluster.roll_out(release.service, image, secrets=secrets)
    else:
        print(f"{release.service.name}: published as {release.reference}; no cluster is configured, so nothing is rolled out")
    _run(tag_command(release, "main"))


def _secrets(service: Service, environment: Mapping[str, str]) -> dict[str, str]:
    """The secret of each workload by its name; refuses, by their names, variables that are missing."""
    missing = [name for name in service.settings if not environment.get(name)]
    if missing:
        raise ReleaseError(f"{service.name} cannot be deployed without the secrets {', '.join(missing)}")
    return {workload.name: secret(workload, environment) for workload in (service.workload, service.migration) if workload}


def mark(release: Release) -> None:
    """Move `deployed/<service>` to this commit. A re-run of an older commit moves it back, as it deployed that commit."""
    tag = f"tags/deployed/{release.service.name}"
    refs = f"repos/{release.repository}/git/refs"
    move = ["gh", "api", "--silent", "--method", "PATCH", f"{refs}/{tag}", "-f", f"sha={release.commit}", "-F", "force=true"]
    create = ["gh", "api", "--silent", "--method", "POST", refs, "-f", f"ref=refs/{tag}", "-f", f"sha={release.commit}"]
    if _run(move, check=False) != 0:
        _run(create)


STEPS: dict[str, Callable[[Release], None]] = {
    "check": check, "push": push, "sign": sign, "verify": verify, "deploy": deploy, "mark": mark,
}  # fmt: skip


def release_from(environment: Mapping[str, str], service: Service) -> Release:
    """The release that the environment describes; refuses to guess."""
    names = ("GITHUB_REPOSITORY", "GITHUB_SHA", "REGISTRY_NAMESPACE")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise ReleaseError(f"not set: {', '.join(missing)}")
    repository, commit, namespace = (environment[name] for name in names)
    return Release(service, image_digest(service.name), repository=repository, commit=commit, namespace=namespace)


def main() -> int:
    """Run the step named first for the service named second."""
    if len(sys.argv) != 3 or sys.argv[1] not in STEPS:
        print(f"usage: release.py {'|'.join(STEPS)} SERVICE", file=sys.stderr)
        return 2
    try:
        STEPS[sys.argv[1]](release_from(os.environ, load_catalog().service(sys.argv[2])))
    except (ReleaseError, ClusterError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
