"""The stack's Prometheus really scrapes every process, and evaluates every rule without an error."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_project import OURS, Compose
from fetchwork_local.waiting import wait_until

WAIT_SECONDS = 60.0
"""A name is looked up every 10 s, a target is scraped and a rule is evaluated every 5 s."""


def _ask(compose: Compose, query: str) -> list[tuple[dict[str, str], float]]:
    """The labels and the value of each series that a query gives now."""
    address = "http://localhost:9090"
    answer = compose.run("exec", "-T", "prometheus", "promtool", "query", "--format", "json", "instant", address, query)
    return [(sample["metric"], float(sample["value"][1])) for sample in json.loads(answer.stdout)]


def _number(compose: Compose, query: str) -> float | None:
    values = [value for _, value in _ask(compose, query)]
    return values[0] if len(values) == 1 else None


@pytest.fixture(scope="module")
def rules(repository: Path) -> list[dict[str, Any]]:
    """Every alert and recording rule of ours."""
    files = sorted((repository / "deploy/prometheus/rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_every_process_is_scraped(running: Compose) -> None:
    replicas = {service: float(len(running.containers(service))) for service in (*OURS, "prometheus")}
    assert replicas["fetcher"] > 1

    def scraped() -> dict[str, float]:
        return {labels["job"]: value for labels, value in _ask(running, "sum by (job) (up == 1)")}

    def is_whole() -> bool:
        return scraped() == replicas and not _ask(running, "up != 1")

    wait_until(is_whole, timeout_seconds=WAIT_SECONDS, interval_seconds=1)


@pytest.mark.parametrize("service", OURS)
def test_each_says_which_build_it_is(running: Compose, service: str) -> None:
    query = f'fetchwork_build_info{{job="{service}"}}'
    found = wait_until(lambda: _ask(running, query), timeout_seconds=WAIT_SECONDS, interval_seconds=1)
    assert {labels["service"] for labels, _ in found} == {service}


def test_every_rule_is_loaded_and_evaluated(running: Compose, rules: list[dict[str, Any]]) -> None:
    def loaded() -> float | None:
        return _number(running, "sum(prometheus_rule_group_rules)")

    wait_until(lambda: loaded() == len(rules), timeout_seconds=WAIT_SECONDS, interval_seconds=1)
    evaluated = "sum(prometheus_rule_evaluations_total) >= sum(prometheus_rule_group_rules)"
    wait_until(lambda: _ask(running, evaluated), timeout_seconds=WAIT_SECONDS, interval_seconds=1)
    assert _number(running, "sum(prometheus_rule_evaluation_failures_total)") == 0


def test_a_recorded_value_is_there(running: Compose, rules: list[dict[str, Any]]) -> None:
    names = {rule["record"] for rule in rules if "record" in rule}
    assert names
    query = f'count({{__name__=~"{"|".join(sorted(names))}"}})'
    wait_until(lambda: _ask(running, query), timeout_seconds=WAIT_SECONDS, interval_seconds=1)
