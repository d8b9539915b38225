"""What must hold for every workflow, and for the one that deploys. Each rule returns what is wrong, in words.

Kept apart from the tests so that each rule can be shown a workflow that breaks it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

Workflow = dict[str, Any]
Rule = Callable[[Workflow], list[str]]

STAGES = ("build", "lint", "security", "test", "docker", "deploy")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
VERSIONED_LINE = re.compile(r"uses: [\w.-]+/\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
OURS = re.compile(r"\$/\.github/workflows/[\w-]+\.yml")
ONE_TARGET = re.compile(r'make [a-z][a-z-]*( STEP=[a-z]+)?( SERVICE="\$SERVICE")?')
ON_MAIN = ("github.event_name == 'push'", "github.ref == 'refs/heads/main'")
ENGINES = {"postgres", "redis"}


def parse(text: str) -> Workflow:
    """The workflow as data. YAML 1.1 takes the key `on` for a truth value, so it is renamed here."""
    document: dict[Any, Any] = yaml.safe_load(text)
    return {"on" if key is True else str(key): value for key, value in document.items()}


def stages_follow_each_other(workflow: Workflow) -> list[str]:
    """Exactly the six stages, each waiting for the one before."""
    jobs = workflow["jobs"]
    problems = [] if tuple(jobs) == STAGES else [f"the stages are {', '.join(jobs)}"]
    for before, stage in zip(STAGES, STAGES[1:], strict=False):
        if before not in _needs(jobs.get(stage, {})):
            problems.append(f"{stage} does not need {before}")
    return problems


def stages_never_run_after_a_failure(workflow: Workflow) -> list[str]:
    """No stage's condition lets it run although the one before failed; no failure is waved through."""
    problems = []
    for name, job in workflow["jobs"].items():
        if re.search(r"always\(\)|failure\(\)|cancelled\(\)", str(job.get("if", ""))):
            problems.append(f"{name} may run after a failure")
        if any(each.get("continue-on-error") for each in (job, *_steps(job))):
            problems.append(f"{name} may fail without being noticed")
    return problems


def deploys_from_main_only(workflow: Workflow) -> list[str]:
    """Deploy's condition is a plain conjunction in which both `push` and `main` stand."""
    condition = str(workflow["jobs"]["deploy"].get("if", ""))
    clauses = [clause.strip() for clause in condition.split("&&")]
    problems = [f"deploy's condition lacks {clause}" for clause in ON_MAIN if clause not in clauses]
    if "||" in condition or "!(" in condition:
        problems.append("deploy's condition has a way around main")
    if isinstance(workflow["on"], dict) and "pull_request_target" in workflow["on"]:
        problems.append("pull_request_target runs with our secrets on others' code")
    return problems


def actions_are_pinned(workflow: Workflow) -> list[str]:
    """Every action by a full commit, or one of our own workflows."""
    used = [(name, str(entry["uses"])) for name, entry in _uses(workflow)]
    return [f"{name}: {action} is not pinned" for name, action in used if not _is_pinned(action)]


def jobs_have_limits(workflow: Workflow) -> list[str]:
    """Every job ends by itself; a job that calls one of our workflows has its limits there."""
    return [
        f"{name} has no timeout-minutes"
        for name, job in workflow["jobs"].items()
        if not isinstance(job.get("timeout-minutes"), int) and not OURS.fullmatch(str(job.get("uses", "")))
    ]


def tokens_are_small(workflow: Workflow) -> list[str]:
    """Nothing is allowed at the top, each job says what it needs, and only deploy may write to the repository."""
    problems = [] if workflow.get("permissions") == {} else ["the workflow has permissions"]
    for name, job in workflow["jobs"].items():
        permissions = job.get("permissions")
        if not isinstance(permissions, dict):
            problems.append(f"{name} does not say which permissions it needs")
        elif permissions.get("contents") == "write" and name != "deploy":
            problems.append(f"{name} may write to the repository")
    return problems


def checkouts_keep_no_token(workflow: Workflow) -> list[str]:
    """No checkout leaves its token behind for the steps that follow."""
    return [
        f"{name}: the checkout keeps its token"
        for name, entry in _uses(workflow)
        if str(entry["uses"]).startswith("actions/checkout@") and entry.get("with", {}).get("persist-credentials") is not False
    ]


def steps_call_make(workflow: Workflow) -> list[str]:
    """Every command is one make target; so it can be run anywhere, and nothing of GitHub's is pasted into a shell."""
    commands = [(name, step["run"].strip()) for name, job in workflow["jobs"].items() for step in _steps(job) if "run" in step]
    return [f"{name}: {command!r} is not one make target" for name, command in commands if not ONE_TARGET.fullmatch(command)]


def secrets_are_for_deploy(workflow: Workflow) -> list[str]:
    """No other job names a secret, and none hands on all of them."""
    problems = []
    for name, job in workflow["jobs"].items():
        if name != "deploy" and ("secrets" in job or "secrets." in yaml.safe_dump(job)):
            problems.append(f"{name} knows secrets")
    return problems


def runs_are_queued_on_main(workflow: Workflow) -> list[str]:
    """A newer push cancels an older run of a pull request, and never one on main."""
    concurrency = workflow.get("concurrency") or {}
    problems = [] if "github.ref" in str(concurrency.get("group")) else ["runs of different refs share a queue"]
    if concurrency.get("cancel-in-progress") != "${{ github.event_name == 'pull_request' }}":
        problems.append("a run on main may be cancelled, or one of a pull request may not")
    return problems


def tests_have_their_servers(workflow: Workflow) -> list[str]:
    """Postgres and Redis with health checks, a worker before the tests, its log when they fail, and coverage."""
    job = workflow["jobs"]["test"]
    services = job.get("services", {}).values()
    problems = [] if {_engine(service) for service in services} >= ENGINES else ["Postgres or Redis is missing"]
    problems += [f"{each['image']} has no health check" for each in services if "--health-cmd" not in each.get("options", "")]
    steps = {step["run"]: (position, step.get("if")) for position, step in enumerate(job["steps"]) if "run" in step}
    if not {"make worker-start", "make coverage", "make worker-log"} <= set(steps):
        return [*problems, "the worker, its log or coverage is missing"]
    if not steps["make worker-start"][0] < steps["make coverage"][0] < steps["make worker-log"][0]:
        problems.append("the worker starts after the tests, or its log comes before them")
    if steps["make worker-log"][1] != "failure()":
        problems.append("the worker's log is not shown when a test fails")
    return problems


def images_follow_the_plan(workflow: Workflow) -> list[str]:
    """Docker and Deploy are matrices over the plan, guarded against an empty one."""
    problems = []
    for name in ("docker", "deploy"):
        job = workflow["jobs"][name]
        if job.get("strategy", {}).get("matrix", {}).get("service") != "${{ fromJSON(needs.build.outputs.services) }}":
            problems.append(f"{name} is no matrix over the plan")
        if "needs.build.outputs.services != '[]'" not in str(job.get("if", "")):
            problems.append(f"{name} has no guard against an empty matrix")
        if "build" not in _needs(job):
            problems.append(f"{name} does not see the plan")
    return problems


def services_deploy_alone(workflow: Workflow) -> list[str]:
    """An environment and a queue for each service, and no service stops another."""
    job = workflow["jobs"]["deploy"]
    each = "${{ matrix.service }}"
    problems = [] if each in str(job.get("environment", "")) else ["services share an environment"]
    if each not in str(job.get("concurrency", {}).get("group", "")):
        problems.append("services share a queue")
    if job.get("concurrency", {}).get("cancel-in-progress") is not False:
        problems.append("a deploy may be cancelled half way")
    if job.get("strategy", {}).get("fail-fast") is not False:
        problems.append("one service's failure stops the others")
    return problems


def releases_go_in_order(workflow: Workflow) -> list[str]:
    """Checked, pushed, signed, verified, deployed, marked, with no step that runs although one before it failed."""
    steps = workflow["jobs"]["deploy"]["steps"]
    order = re.findall(r"make release STEP=([a-z]+)", "\n".join(str(step.get("run", "")) for step in steps))
    problems = [] if order == ["check", "push", "sign", "verify", "deploy", "mark"] else [f"the order is {', '.join(order)}"]
    if any("if" in step for step in steps):
        problems.append("a step of the deploy has a condition of its own")
    if "STEP=mark" not in str(steps[-1].get("run", "")):
        problems.append("something can fail after the marker has moved")
    return problems


RULES_FOR_ALL: tuple[Rule, ...] = (
    actions_are_pinned, jobs_have_limits, tokens_are_small, checkouts_keep_no_token, steps_call_make,
)  # fmt: skip
RULES_FOR_DELIVERY: tuple[Rule, ...] = (
    stages_follow_each_other, stages_never_run_after_a_failure, deploys_from_main_only, secrets_are_for_deploy,
    runs_are_queued_on_main, tests_have_their_servers, images_follow_the_plan, services_deploy_alone, releases_go_in_order,
)  # fmt: skip


def _needs(job: dict[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


def _is_pinned(action: str) -> bool:
    return bool(PINNED.fullmatch(action) or OURS.fullmatch(action))


def _steps(job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(job.get("steps", []))


def _uses(workflow: Workflow) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in workflow["jobs"].items():
        yield from ((name, entry) for entry in (job, *_steps(job)) if "uses" in entry)


def _engine(service: dict[str, Any]) -> str:
    return str(service["image"]).partition(":")[0]
