"""The compose file keeps its promises: what is contained, who reaches whom, who is given which secret."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

Services = dict[str, dict[str, Any]]
OURS = {"gateway", "fetcher", "store"}
ONCE = {"secrets", "migrate"}
OBSERVERS = {"grafana", "alertmanager"}
"""There with the profile `observability` only."""
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


@pytest.fixture(scope="session")
def observed(repository: Path, compose: None) -> dict[str, Any]:
    """The compose file with all that may be started, resolved."""
    return _resolved(repository, COMPOSE_PROFILES="observability")


@pytest.fixture
def everything(observed: dict[str, Any]) -> Services:
    """Every service by name, those of profiles too."""
    found: Services = observed["services"]
    assert found.keys() > OURS | ONCE | OBSERVERS
    return found


def _networks(service: dict[str, Any]) -> set[str]:
    return set() if service.get("network_mode") == "none" else set(service["networks"])


def _bytes(service: dict[str, Any]) -> int:
    return int(service["mem_limit"])


def test_every_container_is_contained(everything: Services) -> None:
    for name, service in everything.items():
        assert service.get("read_only") is True, name
        assert service.get("cap_drop") == ["ALL"], name
        assert "cap_add" not in service and not service.get("privileged"), name
        assert service.get("security_opt") == ["no-new-privileges:true"], name
        assert 0 < _bytes(service) <= 2 * 1024**3, name
        assert 0 < service["pids_limit"] <= 1024, name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
        assert all("noexec,nosuid,nodev" in mount for mount in service["tmpfs"]), name


def test_nothing_of_the_machine_is_mounted(everything: Services) -> None:
    for name, service in everything.items():
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


def test_who_observes_is_asked_for_and_published_to_this_machine_only(services: Services, everything: Services) -> None:
    assert everything.keys() - services.keys() == OBSERVERS
    for name in OBSERVERS:
        assert [port["host_ip"] for port in everything[name]["ports"]] == ["127.0.0.1"], name
        assert not re.search(r":latest\Z|\A[^:]+\Z", everything[name]["image"]), name


def test_who_observes_reaches_metrics_and_nothing_else_of_ours(observed: dict[str, Any], everything: Services) -> None:
    """Grafana leaves this machine by no way; Alertmanager must, since it tells others."""
    for name in OBSERVERS:
        [own] = _networks(everything[name]) - {"metrics"}
        assert {other for other, service in everything.items() if own in _networks(service)} == {name}
        options = observed["networks"][own].get("driver_opts", {})
        lends_no_address = options.get("com.docker.network.bridge.enable_ip_masquerade") == "false"
        assert lends_no_address == (name == "grafana")


def test_grafana_lets_in_who_knows_its_secret(everything: Services) -> None:
    environment = everything["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith(f"{SECRETS}/")
    assert (environment["GF_AUTH_ANONYMOUS_ENABLED"], environment["GF_USERS_ALLOW_SIGN_UP"]) == ("false", "false")
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment


def test_what_is_provisioned_is_where_it_is_looked_for(repository: Path, observed: dict[str, Any], everything: Services) -> None:
    files = {name: Path(config["file"]) for name, config in observed["configs"].items()}
    mounted = [config for name in ("grafana", "prometheus") for config in everything[name]["configs"]]
    given = {config["target"]: files[config["source"]] for config in mounted}
    assert all(path.exists() for path in given.values())
    [provider] = yaml.safe_load((given["/etc/grafana/provisioning"] / "dashboards/fetchwork.yaml").read_text())["providers"]
    dashboards = given[provider["options"]["path"]]
    home = Path(everything["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert provider["options"]["path"] == str(home.parent) and (dashboards / home.name).is_file()
    [source] = yaml.safe_load((given["/etc/grafana/provisioning"] / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    scraping = yaml.safe_load(given["/etc/prometheus/prometheus.yml"].read_text())
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]
    assert scraping["rule_files"] == ["/etc/prometheus/rules/*.yml"] and given["/etc/prometheus/rules"].is_dir()


def test_every_alert_has_a_receiver_and_no_address_is_written_down(repository: Path) -> None:
    told = yaml.safe_load((repository / "deploy/alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
    receivers = {each["name"]: each["webhook_configs"] for each in told["receivers"]}
    assert {told["route"]["receiver"], *(route["receiver"] for route in told["route"]["routes"])} == receivers.keys()
    assert all("url" not in config and config["url_file"].startswith(SECRETS) for each in receivers.values() for config in each)


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


def test_each_reads_its_own_secrets_only(everything: Services) -> None:
    readers: dict[str, set[str]] = {}
    for name, service in everything.items():
        for mount in service.get("volumes", []):
            if mount["target"] == SECRETS:
                assert mount["read_only"] is True, name
                readers.setdefault(mount["source"], set()).add(name)
    assert readers == {f"{name}-secrets": {name} for name in (*OURS, *OBSERVERS, "migrate", "postgres", "events", "broker")}


def test_no_secret_is_written_down(everything: Services) -> None:
    for name, service in everything.items():
        for variable, value in (service.get("environment") or {}).items():
            is_secret = any(word in variable for word in ("PASSWORD", "TOKEN", "KEY", "DATABASE_URL", "EVENTS_URL", "BROKER_URL"))
            assert not is_secret or not value or value.startswith(SECRETS), (name, variable)


def test_servers_come_back_and_start_in_order(services: Services, everything: Services) -> None:
    for name, service in everything.items():
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
    for name in ("vault", "gateway", "fetcher", "store", "migrate", "postgres", "events", "broker", *OBSERVERS):
        (tmp_path / name).mkdir()

    def make(api_key: str = "", **variables: str) -> dict[str, str]:
        program = repository / "deploy/compose/make_secrets.py"
        command = [sys.executable, str(program), str(tmp_path), str(repository / "deploy/redis")]
        subprocess.run(command, env={"FETCHWORK_API_KEY": api_key, **variables}, check=True, timeout=30)
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


def test_only_alertmanager_is_told_whom_to_tell(make_secrets: Any) -> None:
    assert not any(path.startswith("alertmanager/") for path in make_secrets())
    told = make_secrets(FETCHWORK_ALERT_PAGE_URL="https://pager.example/hook")
    assert [path for path, text in told.items() if "pager.example" in text] == ["alertmanager/page_url"]


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
