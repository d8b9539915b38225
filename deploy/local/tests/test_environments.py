"""Least privilege: what each service is told, and what it never is."""

from pathlib import Path

import pytest
from fetchwork_local.environments import DECIDED_BY_STACK, service_environments
from fetchwork_local.home import Home
from fetchwork_local.programs import stack_programs
from fetchwork_local.state import StackState, renew

CALLER = {
    "PATH": "/usr/bin",
    "HOME": "/home/someone",
    "SECRET_OF_THE_CALLER": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "HTTP_PROXY": "http://proxy.example:3128",
    "https_proxy": "http://proxy.example:3128",
    "ALL_PROXY": "http://proxy.example:3128",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "SSL_CERT_FILE": "/etc/ssl/certs/all.pem",
    "FETCHWORK_LOG_LEVEL": "debug",
    "FETCHWORK_UNSAFE_TARGET_NETWORKS": "10.0.0.0/8,127.9.0.0/16",
    "FETCHWORK_DATABASE_URL": "postgresql://someone:else@db.example/x",
    "FETCHWORK_HOME": "/home/someone/.fetchwork",
    "FETCHWORK_URL": "https://fetchwork.example",
}


@pytest.fixture
def state(tmp_path: Path) -> StackState:
    """A state as the first `up` makes it."""
    home = Home(tmp_path / "home")
    home.create()
    return renew(home, gateway_port=None, api_key=None)


def test_only_the_store_knows_the_database(state: StackState) -> None:
    environments = service_environments(state, caller=CALLER)
    assert {name for name, known in environments.items() if "FETCHWORK_DATABASE_URL" in known} == {"store"}
    assert not _mentions(environments["fetcher"], state.secrets.postgres_password)
    assert not _mentions(environments["gateway"], state.secrets.postgres_password)


def test_the_gateway_does_not_know_the_broker(state: StackState) -> None:
    environments = service_environments(state, caller=CALLER)
    assert {name for name, known in environments.items() if "FETCHWORK_BROKER_URL" in known} == {"store", "fetcher"}
    assert not _mentions(environments["gateway"], state.secrets.broker_password)


def test_only_the_gateway_knows_the_api_key(state: StackState) -> None:
    environments = service_environments(state, caller=CALLER)
    assert {name for name, known in environments.items() if _mentions(known, state.secrets.api_key)} == {"gateway"}


def test_tuning_reaches_services_and_nothing_else_of_the_caller_does(state: StackState) -> None:
    for environment in service_environments(state, caller=CALLER).values():
        assert environment["FETCHWORK_LOG_LEVEL"] == "debug"
        assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == CALLER["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert environment["SSL_CERT_FILE"] == CALLER["SSL_CERT_FILE"]
        assert not {"SECRET_OF_THE_CALLER", "AWS_SECRET_ACCESS_KEY", "FETCHWORK_HOME", "FETCHWORK_URL"} & set(environment)
        assert not [name for name in environment if name.lower().endswith("_proxy")]
        assert CALLER["FETCHWORK_DATABASE_URL"] not in environment.values()


def test_the_demo_origin_is_allowed_beside_what_the_caller_allows(state: StackState) -> None:
    name = "FETCHWORK_UNSAFE_TARGET_NETWORKS"
    for service in ("fetcher", "gateway"):  # who fetches, and who plans
        assert service_environments(state, caller=CALLER)[service][name] == "10.0.0.0/8,127.9.0.0/16,127.8.0.1/32"
        assert service_environments(state, caller={})[service][name] == "127.8.0.1/32"


def test_every_variable_that_the_stack_sets_is_closed_to_the_caller(state: StackState) -> None:
    names = {name for known in service_environments(state, caller={}).values() for name in known}
    decided = {name for name in names if name.startswith("FETCHWORK_")}
    assert decided - DECIDED_BY_STACK == {"FETCHWORK_UNSAFE_TARGET_NETWORKS"}


def test_no_secret_is_on_a_command_line(tmp_path: Path, state: StackState) -> None:
    secrets = set(state.secrets.model_dump().values())
    for program in stack_programs(Home(tmp_path / "home"), state, caller=CALLER):
        assert not [argument for argument in program.command if any(secret in argument for secret in secrets)], program.name


def _mentions(environment: dict[str, str], secret: str) -> bool:
    return any(secret in value for value in environment.values())
