"""What reads expressions and registries stands beside the tests and is imported by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
