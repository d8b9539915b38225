"""`python -m harness.faulty SERVICE`: run a service as it is, but for one failpoint or one mutant named in the environment.

The product has no failpoints of its own, so none can go off in production: they are put around its functions from here, and one
that names no function ends the process at once.
"""

import os
import runpy
import sys

from harness.failpoints import FAILPOINT, arm
from harness.mutants import MUTANT, MUTANTS


def main() -> None:
    """Becomes the service that the command line names; what it is told is in the environment."""
    service = sys.argv[1]
    del sys.argv[1]
    if spec := os.environ.get(FAILPOINT):
        arm(spec)
    if name := os.environ.get(MUTANT):
        MUTANTS[name]()
    runpy.run_module(service, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
