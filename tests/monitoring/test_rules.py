"""The Prometheus rules hold: promtool reads and tests them, each alert has a test either way and a runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import promtool
import pytest
import yaml

TOP = Path(__file__).parents[2]
PROMETHEUS = TOP / "deploy/prometheus"
RUNBOOKS = TOP / "docs/runbooks"
SECTIONS = ["Meaning", "Impact", "First three commands", "Mitigation", "Escalation"]


def _rules() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in _rules() if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def _tests() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "tests").glob("*.yml"))
    return [test for path in files for test in yaml.safe_load(path.read_text())["tests"]]


@pytest.fixture(scope="module")
def command() -> list[str]:
    found = promtool.promtool_command(PROMETHEUS)
    if found is None:
        pytest.skip("SKIPPED RULE TESTS: neither promtool (Debian: apt install prometheus) nor a Docker engine is here")
    return found


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_say_what_their_tests_expect(command: list[str], path: Path) -> None:
    done = promtool.run(command, "test", "rules", str(path.relative_to(PROMETHEUS)), folder=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_well_formed(command: list[str]) -> None:
    done = promtool.run(command, "check", "rules", "rules/alerts.yml", "rules/slo.yml", folder=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_is_wrong_is_noticed(command: list[str], tmp_path: Path) -> None:
    """The check itself: with an alert that can never fire its test fails."""
    tmp_path.chmod(0o755)
    for name in ("rules", "tests"):
        (tmp_path / name).mkdir()
        for path in (PROMETHEUS / name).glob("*.yml"):
            text = path.read_text().replace("max(fetchwork_workers) == 0", "max(fetchwork_workers) == 7")
            (tmp_path / name / path.name).write_text(text)
    command = promtool.promtool_command(tmp_path) or command
    done = promtool.run(command, "test", "rules", "tests/scenarios.yml", folder=tmp_path)
    assert done.returncode != 0 and "NoWorkers" in done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_tested_either_way(name: str) -> None:
    wanted = f'alertname="{name}"'
    told = [check["exp_samples"] for test in _tests() for check in test["promql_expr_test"] if wanted in check["expr"]]
    assert any(told), "a test in which it fires"
    assert not all(told), "a test in which it is silent"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch("([A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket") and rule["labels"]["service"]
    assert {"summary", "description", "runbook_url"} <= rule["annotations"].keys()
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


def test_there_is_a_runbook_for_each_alert_and_no_other() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README") == NAMES
    index = (RUNBOOKS / "README.md").read_text()
    assert sorted(re.findall(r"^\| \[(\w+)\]\(\1\.md\)", index, re.MULTILINE)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_runbook_has_its_sections_and_three_commands(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert re.findall("^## (.*)$", text, re.MULTILINE) == SECTIONS
    commands = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(commands) == 1 and len(commands[0].splitlines()) == 3
    for command in commands[0].splitlines():  # a command that a shell cannot read helps nobody
        subprocess.run(["sh", "-n", "-c", command.replace("<", "").replace(">", "")], check=True, timeout=10)


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run(
        [TOP / ".venv/bin/python", TOP / "deploy/monitoring/write_rules.py", "--check"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_prometheus_reads_every_rule_file() -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert configuration["rule_files"] == ["/etc/prometheus/rules/*.yml"]
