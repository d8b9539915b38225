"""All metrics of all services: names as Prometheus wants them, and labels that cannot grow with what callers send."""

import re

import pytest
from metrics_page import Family, families, registries

FOUND = [(service, family) for service, registry in registries().items() for family in families(registry)]
IDS = [f"{service}-{family.name}" for service, family in FOUND]
UNBOUNDED = re.compile(r"(^|_)(url|uri|path|host|origin|domain|ip|address|id|key|tenant|actor|name|user)s?$")
ALLOWED = {("fetchwork_host_queue_fetches", "host")}
"""Only when FETCHWORK_METRICS_TOP_HOSTS asks for it, and then so many and `other`."""
VALUES_LIMIT = 50
OTHER_UNITS = re.compile(
    r"_(milliseconds|millis|ms|microseconds|us|nanoseconds|ns|minutes|hours|days|kilobytes|megabytes|kb|mb|kib|mib|percent)(_|$)"
)


@pytest.mark.parametrize(("service", "family"), FOUND, ids=IDS)
def test_no_label_grows_with_what_callers_send(service: str, family: Family) -> None:
    unbounded = {label for label in family.labels if UNBOUNDED.search(label)}
    assert {(family.name, label) for label in unbounded} <= ALLOWED
    assert all(len(values) <= VALUES_LIMIT for values in family.labels.values())


@pytest.mark.parametrize(("service", "family"), FOUND, ids=IDS)
def test_names_follow_the_conventions(service: str, family: Family) -> None:
    assert re.fullmatch(r"(fetchwork|process|python)_[a-z][a-z0-9_]*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not OTHER_UNITS.search(family.name)
    assert family.help and family.help.endswith(".")
    assert family.kind in ("counter", "gauge", "histogram")


def test_a_label_of_hosts_is_found() -> None:
    assert all(UNBOUNDED.search(label) for label in ("host", "fetch_id", "api_key", "url"))
    assert not UNBOUNDED.search("route") and not UNBOUNDED.search("status_class") and not UNBOUNDED.search("phase")


def test_what_every_service_has_is_in_each() -> None:
    chassis = {
        "fetchwork_dependency_up", "fetchwork_dependency_checked_timestamp_seconds", "fetchwork_event_loop_lag_seconds",
        "fetchwork_draining", "fetchwork_redis_connections", "fetchwork_limit", "fetchwork_build_info",
        "process_cpu_seconds_total",
    }  # fmt: skip
    for service in registries():
        assert chassis <= {family.name for found, family in FOUND if found == service}, service
