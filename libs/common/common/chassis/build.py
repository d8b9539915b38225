"""Which build this is: a version and a revision, as the `fetchwork_build_info` metric says it."""

import os
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge

VERSION = version("fetchwork-common")


def register_build_info(registry: CollectorRegistry, *, service: str) -> None:
    """Export `fetchwork_build_info{service,version,revision} 1`; the revision comes from FETCHWORK_REVISION."""
    info = Gauge("fetchwork_build_info", "Which build runs.", ["service", "version", "revision"], registry=registry)
    info.labels(service=service, version=VERSION, revision=os.environ.get("FETCHWORK_REVISION", "unknown")).set(1)
