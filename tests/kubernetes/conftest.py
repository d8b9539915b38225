"""The rules stand beside the tests, the pipeline's programs are scripts; both are imported by name."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deploy" / "pipeline")]


@pytest.fixture(scope="session")
def kubernetes(repository: Path) -> Path:
    """The folder of the manifests."""
    return repository / "deploy/kubernetes"
