"""The pipeline's programs are scripts beside each other, not a package; the tests import them as they import each other."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deploy" / "pipeline")]
