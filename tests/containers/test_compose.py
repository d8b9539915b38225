"""The compose file keeps its promises: what is contained, who reaches whom, who is given which secret."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Services = dict[str, dict[str, Any]]
OURS = {"gateway", "fetcher", "store"}
ONCE = {"secrets", "migrate"}
SECRETS = "/run/secrets"
CONFIG_TIMEOUT_SECONDS = 30


@pytest.fixture(scope="session")
def composed(repository: Path, compose: None) -> dict[str, Any]:
    """The compose file, resolved. Needs Docker's program with Compose, but no engine."""
    return _resolved(repository)


def _resolved(repository: Path, **variables: str) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FETCHWORK_", "COMPOSE_"))}
    answer = subprocess.run(
        ["docker", "compose", "config", "--format", "json"],
        cwd=repository,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=CONFIG_TIMEOUT_SECONDS,
    )
    assert answer.returncode == 0, answer.stderr
    config: dict[str, Any] = json.loads(answer.stdout)
    return config


@pytest.fixture
def services(composed: dict[str, Any]) -> Services:
    """Every service by name."""
    found: Services = composed["services"]
    assert found.keys() > OURS | ONCE
    return found


def _networks(service: dict[str, Any]) -> set[str]:
    return set() if service.get("network_mode") == "none" else set(service["networks"])


def _bytes(service: dict[str, Any]) -> int:
    return int(service["mem_limit"])


def test_every_container_is_contained(services: Services) -> None:
    for name, service in services.items():
        assert service.get("read_only") is True, name
        assert service.get("cap_drop") == ["ALL"], name
        assert "cap_add" not in service and not service.get("privileged"), name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert 0 < _bytes(service) <= 2 * 1024**3, name
        assert 0 < service["pids_limit"] <= 1024, name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
        assert all("noexec,nosuid,nodev" in mount for mount in service["tmpfs"]), name


def test_nothing_of_the_machine_is_mounted(services: Services) -> None:
    for name, service in services.items():
        assert all(mount["type"] == "volume" for mount in service.get("volumes", [])), name
        assert service.get("pid") is None and service.get("ipc") is None and service.get("network_mode") in (None, "none"), name


def test_only_the_gateway_is_published_and_only_to_this_machine(services: Services) -> None:
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert published.keys() == {"gateway"}
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


def test_only_callers_and_fetches_cross_the_border(composed: dict[str, Any], services: Services) -> None:
    open_networks = {name for name, network in composed["networks"].items() if not network.get("internal")}
    outside = {name: sorted(_networks(service) & open_networks) for name, service in services.items()}
    assert {name: networks for name, networks in outside.items() if networks} == {"gateway": ["edge"], "fetcher": ["egress"]}


@pytest.mark.parametrize(
    ("server", "callers"),
    [
        ("postgres", {"store", "migrate"}),
        ("broker", {"store", "fetcher"}),
        ("events", OURS),
        ("demo", {"fetcher"}),
    ],
)
def test_who_reaches_whom(services: Services, server: str, callers: set[str]) -> None:
    neighbours = {name for name, other in services.items() if _networks(other) & _networks(services[server])}
    assert neighbours - {server} == callers


def test_each_reads_its_own_secrets_only(services: Services) -> None:
    readers: dict[str, set[str]] = {}
    for name, service in services.items():
        for mount in service.get("volumes", []):
            if mount["target"] == SECRETS:
                assert mount["read_only"] is True, name
                readers.setdefault(mount["source"], set()).add(name)
    assert readers == {f"{name}-secrets": {name} for name in (*OURS, "migrate", "postgres", "events", "broker")}


def test_no_secret_is_written_down(services: Services) -> None:
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            is_secret = any(word in variable for word in ("PASSWORD", "TOKEN", "KEY", "DATABASE_URL", "EVENTS_URL", "BROKER_URL"))
            assert not is_secret or not value or value.startswith(SECRETS), (name, variable)


def test_servers_come_back_and_start_in_order(services: Services) -> None:
    for name, service in services.items():
        is_once = name in ONCE
        assert service["restart"] == ("no" if is_once else "unless-stopped"), name
        assert is_once or service["healthcheck"]["test"], name
    for name in OURS | {"migrate"}:
        conditions = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert conditions["secrets"] == "service_completed_successfully", name
        assert all(
            condition == ("service_completed_successfully" if other in ONCE else "service_healthy")
            for other, condition in conditions.items()
        ), name


def test_each_is_given_the_time_it_needs_to_stop(services: Services) -> None:
    given = {name: services[name]["stop_grace_period"] for name in OURS}
    assert given == {"gateway": "20s", "fetcher": "1m20s", "store": "30s"}


@pytest.mark.parametrize("service", sorted(OURS))
def test_one_service_can_run_from_another_image(repository: Path, services: Services, service: str) -> None:
    """Never the migrations of an earlier store: whoever runs, the schema is the newest."""
    others = _resolved(repository, **{f"FETCHWORK_{service.upper()}_IMAGE": "an/earlier:one"})["services"]
    changed = {name for name in services if others[name]["image"] != services[name]["image"]}
    assert changed - {"demo"} == {service}, "the demo is only made of the fetcher's image"
    assert others[service]["image"] == "an/earlier:one"


@pytest.mark.parametrize("service", sorted(OURS))
def test_images_hold_their_service_and_what_all_share(repository: Path, service: str) -> None:
    lines = (repository / "services" / service / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    assert copied == ["requirements/dev.txt", f"requirements/{service}.txt", "libs/common", f"services/{service}"]
    assert "USER 10001:10001" in lines
    assert f'CMD ["python", "-m", "{service}"]' in lines
    assert not any(line.startswith(("ADD ", "# syntax")) or "<<" in line for line in lines)


@pytest.fixture
def make_secrets(repository: Path, tmp_path: Path) -> Any:
    """Run the one-shot that makes secrets, over folders instead of volumes; returns every file's text by its path."""
    for name in ("vault", "gateway", "fetcher", "store", "migrate", "postgres", "events", "broker"):
        (tmp_path / name).mkdir()

    def make(api_key: str = "") -> dict[str, str]:
        program = repository / "deploy/compose/make_secrets.py"
        command = [sys.executable, str(program), str(tmp_path), str(repository / "deploy/redis")]
        subprocess.run(command, env={"FETCHWORK_API_KEY": api_key}, check=True, timeout=30)
        return {str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8") for path in tmp_path.glob("*/*")}

    return make


def test_secrets_are_made_once(make_secrets: Any) -> None:
    first = make_secrets()
    assert make_secrets() == first
    values = [text for path, text in first.items() if path.startswith("vault/")]
    assert len(set(values)) == len(values) and all(len(value) >= 40 for value in values)


def test_an_own_api_key_replaces_the_made_one(make_secrets: Any) -> None:
    made = make_secrets()
    own = make_secrets("an-own-api-key")
    assert own["gateway/fetchwork_api_key"] == "an-own-api-key" != made["gateway/fetchwork_api_key"]
    assert {path: text for path, text in own.items() if "api_key" not in path} == {
        path: text for path, text in made.items() if "api_key" not in path
    }


def test_only_the_store_is_told_the_database(make_secrets: Any) -> None:
    told = {path.partition("/")[0] for path, text in make_secrets().items() if text.startswith("postgresql://")}
    assert told == {"store", "migrate"}


@pytest.mark.parametrize("server", ["events", "broker"])
def test_redis_users_are_few_and_bounded(make_secrets: Any, server: str) -> None:
    files = make_secrets()
    rules = {line.split()[1]: line.split()[2:] for line in files[f"{server}/users.acl"].splitlines()}
    assert rules.pop("default") == ["off", "resetpass", "~*", "&*", "+@all"]
    for user, rule in rules.items():
        digest = hashlib.sha256(files[f"vault/{server}_{user}"].encode()).hexdigest()
        assert rule[:3] == ["on", f"#{digest}", "resetchannels"], user
        assert not {"+@all", "+@dangerous", "+@admin", "allkeys", "~*", "nopass"} & set(rule), user
        assert not {"+flushall", "+flushdb", "+config", "+keys", "+eval", "+acl", "+debug", "+shutdown"} & set(rule), user
