"""The workflows keep their rules; and each rule notices the workflow that breaks it."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import workflow_rules as rules
from catalog import load_catalog
from workflow_rules import Rule, Workflow

Break = Callable[[dict[str, Any]], Any]
FILES = ("ci-cd.yml", "scheduled.yml", "nightly.yml", "_image.yml")


@pytest.fixture(scope="session")
def workflows(repository: Path) -> dict[str, str]:
    """The text of every workflow."""
    return {file.name: file.read_text() for file in (repository / ".github/workflows").iterdir()}


@pytest.fixture
def delivery(workflows: dict[str, str]) -> Workflow:
    """The workflow that deploys."""
    return rules.parse(workflows["ci-cd.yml"])


def test_rules_know_all_workflows(workflows: dict[str, str]) -> None:
    assert set(workflows) == set(FILES)


@pytest.mark.parametrize("rule", rules.RULES_FOR_ALL)
@pytest.mark.parametrize("file", FILES)
def test_every_workflow(workflows: dict[str, str], file: str, rule: Rule) -> None:
    assert rule(rules.parse(workflows[file])) == []


@pytest.mark.parametrize("rule", rules.RULES_FOR_DELIVERY)
def test_delivery(delivery: Workflow, rule: Rule) -> None:
    assert rule(delivery) == []


def _without_need(stage: str, before: str) -> Break:
    def apply(jobs: dict[str, Any]) -> None:
        needs = jobs[stage]["needs"]
        jobs[stage]["needs"] = [] if isinstance(needs, str) else [need for need in needs if need != before]

    return apply


def _condition(stage: str, condition: str | None) -> Break:
    return lambda jobs: jobs[stage].update({"if": condition} if condition else {"if": ""})


def _action(job: str, action: str) -> Break:
    return lambda jobs: jobs[job]["steps"][0].update(uses=action)


def _swap(job: str, one: int, other: int) -> Break:
    def apply(jobs: dict[str, Any]) -> None:
        steps = jobs[job]["steps"]
        steps[one], steps[other] = steps[other], steps[one]

    return apply


def _set(job: str, **values: Any) -> Break:
    return lambda jobs: jobs[job].update(values)


def _last_step(job: str, **values: Any) -> Break:
    return lambda jobs: jobs[job]["steps"][-1].update(values)


def _drop(job: str, key: str) -> Break:
    return lambda jobs: jobs[job].pop(key)


GUARD = "needs.build.outputs.services != '[]'"
PUSH, MAIN = "github.event_name == 'push'", "github.ref == 'refs/heads/main'"
CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"

BREAKS: list[tuple[Rule, str, Break]] = [
    *((rules.stages_follow_each_other, f"{after} loses its need", _without_need(after, before))
      for before, after in zip(rules.STAGES, rules.STAGES[1:], strict=False)),
    (rules.stages_follow_each_other, "a stage is gone", lambda jobs: jobs.pop("security")),
    (rules.stages_follow_each_other, "one stage too many", lambda jobs: jobs.update(more={})),
    (rules.stages_never_run_after_a_failure, "deploys anyway", _condition("deploy", f"always() && {MAIN}")),
    (rules.stages_never_run_after_a_failure, "deploys unless cancelled", _condition("deploy", f"!cancelled() && {MAIN}")),
    (rules.stages_never_run_after_a_failure, "tests may fail", _set("test", **{"continue-on-error": True})),
    (rules.stages_never_run_after_a_failure, "a step may fail", _last_step("lint", **{"continue-on-error": True})),
    (rules.deploys_from_main_only, "no condition", _condition("deploy", None)),
    (rules.deploys_from_main_only, "any push", _condition("deploy", f"{PUSH} && {GUARD}")),
    (rules.deploys_from_main_only, "any event on main", _condition("deploy", f"{MAIN} && {GUARD}")),
    (rules.deploys_from_main_only, "main or else", _condition("deploy", f"{PUSH} && {MAIN} && {GUARD} || github.actor == 'me'")),
    (rules.deploys_from_main_only, "not main", _condition("deploy", f"{PUSH} && github.ref != 'refs/heads/main'")),
    (rules.deploys_from_main_only, "like main", _condition("deploy", f"{PUSH} && startsWith(github.ref, 'refs/heads/main')")),
    (rules.actions_are_pinned, "a tag", _action("build", "actions/checkout@v7.0.1")),
    (rules.actions_are_pinned, "a branch", _action("build", "actions/checkout@main")),
    (rules.actions_are_pinned, "a short commit", _action("build", "actions/checkout@3d3c42e")),
    (rules.actions_are_pinned, "one digit short", _action("build", CHECKOUT[:-1])),
    (rules.actions_are_pinned, "an image", _action("build", "docker://alpine:3")),
    (rules.actions_are_pinned, "another's workflow", _set("docker", uses="other/repository/.github/workflows/x.yml@main")),
    *((rules.jobs_have_limits, f"{job} without limit", _drop(job, "timeout-minutes"))
      for job in ("build", "lint", "security", "test", "deploy")),
    (rules.jobs_have_limits, "limit from elsewhere", _set("test", **{"timeout-minutes": "${{ inputs.minutes }}"})),
    (rules.tokens_are_small, "no permissions of its own", _drop("lint", "permissions")),
    (rules.tokens_are_small, "all permissions", _set("lint", permissions="write-all")),
    (rules.tokens_are_small, "tests may push", _set("test", permissions={"contents": "write"})),
    (rules.checkouts_keep_no_token, "token kept", lambda jobs: jobs["test"]["steps"][0].pop("with")),
    (rules.checkouts_keep_no_token, "token kept by word",
     lambda jobs: jobs["test"]["steps"][0].update({"with": {"persist-credentials": "false"}})),
    (rules.steps_call_make, "logic in a step", _last_step("lint", run="make lint || true")),
    (rules.steps_call_make, "two commands", _last_step("lint", run="make lint\ncurl example.invalid")),
    (rules.steps_call_make, "pasted", _last_step("lint", run="make lint SERVICE=${{ github.head_ref }}")),
    (rules.secrets_are_for_deploy, "tests know the token", _set("test", env={"TOKEN": "${{ secrets.DOCKERHUB_TOKEN }}"})),
    (rules.secrets_are_for_deploy, "images get all", _set("docker", secrets="inherit")),
    (rules.tests_have_their_servers, "no Postgres", lambda jobs: jobs["test"]["services"].pop("postgres")),
    (rules.tests_have_their_servers, "no health check", lambda jobs: jobs["test"]["services"]["events"].pop("options")),
    (rules.tests_have_their_servers, "no worker", lambda jobs: jobs["test"]["steps"].pop(2)),
    (rules.tests_have_their_servers, "worker after the tests", _swap("test", 2, 3)),
    (rules.tests_have_their_servers, "no coverage", lambda jobs: jobs["test"]["steps"][3].update(run="make test")),
    (rules.tests_have_their_servers, "log when all is well", lambda jobs: jobs["test"]["steps"][4].pop("if")),
    (rules.images_follow_the_plan, "no guard", _drop("docker", "if")),
    (rules.images_follow_the_plan, "no guard for deploy", _condition("deploy", f"{PUSH} && {MAIN}")),
    (rules.images_follow_the_plan, "fixed list", _set("docker", strategy={"matrix": {"service": ["gateway"]}})),
    (rules.images_follow_the_plan, "plan not needed", _set("docker", needs="test")),
    (rules.services_deploy_alone, "shared environment", _set("deploy", environment="production")),
    (rules.services_deploy_alone, "shared queue", _set("deploy", concurrency={"group": "deploy", "cancel-in-progress": False})),
    (rules.services_deploy_alone, "cancelled half way", _set("deploy", concurrency={"group": "deploy-${{ matrix.service }}"})),
    (rules.services_deploy_alone, "fails fast", lambda jobs: jobs["deploy"]["strategy"].pop("fail-fast")),
    (rules.releases_go_in_order, "unverified", lambda jobs: jobs["deploy"]["steps"].pop(-3)),
    (rules.releases_go_in_order, "deployed before verified", _swap("deploy", -2, -3)),
    (rules.releases_go_in_order, "marked before deployed", _swap("deploy", -1, -2)),
    (rules.releases_go_in_order, "marked although failed", _last_step("deploy", **{"if": "always()"})),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "broken", "apply"), BREAKS, ids=[f"{rule.__name__}: {broken}" for rule, broken, _ in BREAKS])
def test_rule_notices(delivery: Workflow, rule: Rule, broken: str, apply: Break) -> None:
    mutant = copy.deepcopy(delivery)
    apply(mutant["jobs"])
    assert mutant != delivery
    assert rule(mutant) != [], f"{rule.__name__} lets this pass: {broken}"


def test_every_rule_has_a_workflow_that_breaks_it() -> None:
    at_the_top = {rules.runs_are_queued_on_main}
    assert {rule for rule, _, _ in BREAKS} | at_the_top == {*rules.RULES_FOR_ALL, *rules.RULES_FOR_DELIVERY}


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (rules.runs_are_queued_on_main, {"concurrency": {"group": "ci-cd-${{ github.ref }}", "cancel-in-progress": True}}),
        (rules.runs_are_queued_on_main, {"concurrency": {"group": "all", "cancel-in-progress": False}}),
        (rules.runs_are_queued_on_main, {"concurrency": None}),
        (rules.tokens_are_small, {"permissions": {"contents": "read"}}),
        (rules.tokens_are_small, {"permissions": None}),
        (rules.deploys_from_main_only, {"on": {"pull_request_target": None}}),
    ],
)
def test_rule_notices_a_change_at_the_top(delivery: Workflow, rule: Rule, change: Workflow) -> None:
    assert rule({**delivery, **change}) != []


@pytest.mark.parametrize("file", FILES)
def test_every_pin_says_its_version(workflows: dict[str, str], file: str) -> None:
    lines = [line.strip().removeprefix("- ") for line in workflows[file].splitlines() if "uses:" in line and "$/" not in line]
    assert [line for line in lines if not rules.VERSIONED_LINE.fullmatch(line)] == []


def test_one_commit_an_action(workflows: dict[str, str]) -> None:
    pins = set(re.findall(r"uses: (\S+)@([0-9a-f]{40})", "\n".join(workflows.values())))
    assert len({action for action, _ in pins}) == len(pins)


def test_every_make_target_exists(workflows: dict[str, str], repository: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    called = set(re.findall(r"run: make ([a-z-]+)", "\n".join(workflows.values())))
    assert called <= targets, f"missing: {', '.join(sorted(called - targets))}"


def test_deploy_hands_each_service_the_secrets_of_the_catalog(delivery: Workflow) -> None:
    [step] = [step for step in delivery["jobs"]["deploy"]["steps"] if "STEP=deploy" in step.get("run", "")]
    for service in load_catalog().services:
        given = {name for name, value in step["env"].items() if _reaches(str(value), service.name)}
        assert given == {*service.settings, "KUBECONFIG_CONTENT"}


def _reaches(expression: str, service: str) -> bool:
    """Whether `${{ secrets.X }}`, or `${{ matrix.service == 'y' && secrets.X || '' }}`, has a value for this service."""
    if re.fullmatch(r"\$\{\{ secrets\.\w+ \}\}", expression):
        return True
    guard = re.fullmatch(r"\$\{\{ matrix\.service (==|!=) '(\w+)' && secrets\.\w+ \|\| '' \}\}", expression)
    assert guard, f"this test cannot read {expression}"
    return (guard[2] == service) == (guard[1] == "==")


def test_branch_rules_ask_for_the_stages_by_their_names(repository: Path, delivery: Workflow) -> None:
    ruleset = json.loads((repository / ".github/rulesets/main.json").read_text())
    [required] = [rule["parameters"] for rule in ruleset["rules"] if rule["type"] == "required_status_checks"]
    names = {check["context"] for check in required["required_status_checks"]}
    assert names == {delivery["jobs"][job]["name"] for job in ("build", "lint", "security", "test")}
