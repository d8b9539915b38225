"""Prometheus's own checker: the one on this machine, else the one in the image of the Prometheus that compose runs."""

import shutil
import subprocess
from pathlib import Path

IMAGE = "prom/prometheus:v2.53.3"
TIMEOUT_SECONDS = 300


def promtool_command(folder: Path) -> list[str] | None:
    """How to call promtool so that it sees `folder` as its working folder; None where there is neither."""
    if shutil.which("promtool"):
        return ["promtool"]
    if shutil.which("docker") and _answers(["docker", "info"]):
        mount = ["--volume", f"{folder}:{folder}:ro", "--workdir", str(folder)]
        return ["docker", "run", "--rm", "--network", "none", *mount, "--entrypoint", "promtool", IMAGE]
    return None


def run(command: list[str], *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What promtool said."""
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


def _answers(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
