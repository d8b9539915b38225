"""Build one service's image into a file, so that it can be scanned, attested and shipped without being built twice.

    python3 deploy/pipeline/image.py archive gateway    # build/images/gateway.tar and gateway.sha256
    python3 deploy/pipeline/image.py sbom gateway       # build/images/gateway.cdx.json; SYFT names the program

Never pushes, and needs no secret.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from catalog import load_catalog

IMAGES = Path("build/images")
BUILD_TIMEOUT_SECONDS = 1500
SBOM_TIMEOUT_SECONDS = 300
CHUNK_BYTES = 1 << 20


def archive_file(service: str) -> Path:
    """Where the image of a service is kept."""
    return IMAGES / f"{service}.tar"


def sbom_file(service: str) -> Path:
    """Where the bill of materials of a service's image is kept."""
    return IMAGES / f"{service}.cdx.json"


def checksums_file(service: str) -> Path:
    """Where both digests of a service's image are kept: the image's own and the archive's."""
    return IMAGES / f"{service}.sha256"


def build_command(service: str, *, commit: str, metadata: Path) -> list[str]:
    """The build. BuildKit's own attestations are off: they would make the digest stand for an index and not for the image."""
    return [
        "docker", "buildx", "build", "--file", f"services/{service}/Dockerfile", "--provenance=false", "--sbom=false",
        "--build-arg", f"REVISION={commit}",
        "--output", f"type=oci,dest={archive_file(service)}", "--metadata-file", str(metadata), ".",
    ]  # fmt: skip


def sbom_command(service: str, *, program: str) -> list[str]:
    """The listing of what is in the image."""
    source, target = f"oci-archive:{archive_file(service)}", f"cyclonedx-json={sbom_file(service)}"
    return [program, "scan", source, "--source-name", f"fetchwork-{service}", "--output", target]


def checksums(service: str, *, image_digest: str) -> str:
    """Two lines as sha256sum writes them; the attestation names both, so the archive can be checked before it is pushed."""
    return f"{image_digest.removeprefix('sha256:')}  fetchwork-{service}\n{_sha256(archive_file(service))}  {service}.tar\n"


def image_digest(service: str) -> str:
    """The digest of the image, as noted at the build."""
    digest = checksums_file(service).read_text(encoding="utf-8").split(maxsplit=1)[0]
    return f"sha256:{digest}"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def build(service: str) -> None:
    """Build the image and note its digests."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    metadata = IMAGES / f"{service}.metadata.json"
    command = build_command(service, commit=os.environ.get("GITHUB_SHA", "unknown"), metadata=metadata)
    subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_SECONDS)
    digest = json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"]
    checksums_file(service).write_text(checksums(service, image_digest=digest), encoding="utf-8")
    print(f"{service}: {digest}")


def list_content(service: str) -> None:
    """Write the bill of materials."""
    command = sbom_command(service, program=os.environ.get("SYFT", "syft"))
    subprocess.run(command, check=True, timeout=SBOM_TIMEOUT_SECONDS)


def main() -> int:
    """Run the step named first for the service named second."""
    steps = {"archive": build, "sbom": list_content}
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        print(f"usage: image.py {'|'.join(steps)} SERVICE", file=sys.stderr)
        return 2
    steps[sys.argv[1]](load_catalog().service(sys.argv[2]).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
