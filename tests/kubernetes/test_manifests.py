"""The manifests keep their rules; and each rule notices the manifests that break it."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fleet_rules as fleet
import pod_rules as rules
import pytest
from facts import SETTINGS, Facts, facts_of
from kustomize_reader import Manifests, read_all
from pod_rules import Rule

Break = Callable[[Manifests], Any]
ALL_RULES = (*rules.POD_RULES, *fleet.FLEET_RULES)


@pytest.fixture(scope="module")
def production(kubernetes: Path) -> Manifests:
    """Everything that is applied in production."""
    return read_all(*sorted((kubernetes / "overlays/production").iterdir())).manifests


@pytest.fixture(scope="module")
def with_keda(kubernetes: Path) -> Manifests:
    """The same with KEDA's fetcher in place of the plain one."""
    plain = sorted(folder for folder in (kubernetes / "overlays/production").iterdir() if folder.name != "fetcher")
    return read_all(*plain, kubernetes / "overlays/keda/fetcher").manifests


@pytest.fixture(scope="module")
def facts(repository: Path) -> Mapping[str, Facts]:
    """Each service as it is without Kubernetes."""
    return {name: facts_of(repository, name) for name in SETTINGS}


@pytest.mark.parametrize("rule", ALL_RULES)
def test_production(production: Manifests, facts: Mapping[str, Facts], rule: Rule) -> None:
    assert rule(production, facts) == []


@pytest.mark.parametrize("rule", ALL_RULES)
def test_production_with_keda(with_keda: Manifests, facts: Mapping[str, Facts], rule: Rule) -> None:
    assert rule(with_keda, facts) == []


def _pod(manifests: Manifests, name: str) -> dict[str, Any]:
    kind = "Job" if name == "migrate" else "Deployment"
    pod: dict[str, Any] = manifests[f"{kind}/{name}"]["spec"]["template"]["spec"]
    return pod


def _in_pod(name: str, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, name).update(values)


def _in_context(name: str, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, name)["securityContext"].update(values)


def _in_container(name: str, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, name)["containers"][0].update(values)


def _in_container_context(name: str, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, name)["containers"][0]["securityContext"].update(values)


def _variable(name: str, variable: str, value: str) -> Break:
    return lambda manifests: _pod(manifests, name)["containers"][0]["env"].append({"name": variable, "value": value})


def _mount(workload: str, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, workload)["containers"][0]["volumeMounts"][0].update(values)


def _volume(name: str, number: int, **values: Any) -> Break:
    return lambda manifests: _pod(manifests, name)["volumes"][number].update(values)


def _in_spec(key: str, **values: Any) -> Break:
    return lambda manifests: manifests[key]["spec"].update(values)


def _drop(key: str, *path: str) -> Break:
    def apply(manifests: Manifests) -> None:
        inner: Any = manifests
        for step in (key, *path)[:-1]:
            inner = inner[int(step) if step.isdigit() else step]
        del inner[(key, *path)[-1]]

    return apply


POD, CONTAINER = ("spec", "template", "spec"), ("spec", "template", "spec", "containers", "0")
STORE_URL = "FETCHWORK_STORE_URL"
SIDECAR: dict[str, Any] = {"name": "extra", "image": "extra:1", "volumeMounts": []}
SELECTS_GATEWAY = {"matchLabels": {rules.NAME: "gateway"}}

POD_BREAKS: list[tuple[Rule, str, Break]] = [
    (rules.workloads_are_known, "a workload too many",
     lambda manifests: manifests.update({"DaemonSet/x": {**manifests["Deployment/store"], "kind": "DaemonSet"}})),
    (rules.workloads_are_known, "a second container", lambda manifests: _pod(manifests, "store")["containers"].append(SIDECAR)),
    (rules.workloads_are_known, "another image", _in_container("store", image="fetchwork/gateway:local")),
    (rules.workloads_are_known, "whatever is newest", _in_container("fetcher", image="fetchwork/fetcher")),
    (rules.users_are_the_images_own, "root", _in_context("store", runAsUser=0)),
    (rules.users_are_the_images_own, "maybe root", _in_context("migrate", runAsNonRoot=False)),
    (rules.users_are_the_images_own, "a user of its own", _in_container_context("gateway", runAsUser=0)),
    (rules.rights_are_given_up, "any system call", _in_context("fetcher", seccompProfile={"type": "Unconfined"})),
    (rules.rights_are_given_up, "the host's network", _in_pod("fetcher", hostNetwork=True)),
    (rules.rights_are_given_up, "gains rights", _in_container_context("store", allowPrivilegeEscalation=True)),
    (rules.rights_are_given_up, "privileged", _in_container_context("store", privileged=True)),
    (rules.rights_are_given_up, "a capability", _in_container_context("gateway", capabilities={"drop": ["ALL"], "add": ["X"]})),
    (rules.rights_are_given_up, "some capabilities", _in_container_context("migrate", capabilities={"drop": ["NET_RAW"]})),
    (rules.rights_are_given_up, "a door of its own", _in_container_context("store", seccompProfile={"type": "Unconfined"})),
    (rules.rights_are_given_up, "a first container that keeps all",
     _in_pod("store", initContainers=[{"name": "first", "image": "fetchwork/store:local", "volumeMounts": []}])),
    (rules.disks_are_read_only, "writable", _in_container_context("fetcher", readOnlyRootFilesystem=False)),
    (rules.disks_are_read_only, "on disk", _volume("store", 1, emptyDir={"sizeLimit": "64Mi"})),
    (rules.disks_are_read_only, "without limit", _volume("store", 1, emptyDir={"medium": "Memory"})),
    (rules.disks_are_read_only, "the host's files",
     lambda manifests: _pod(manifests, "store")["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    (rules.disks_are_read_only, "nothing to mount", lambda manifests: _pod(manifests, "gateway")["volumes"].pop()),
    (rules.disks_are_read_only, "nothing in it", _drop("Job/migrate", *POD, "volumes", "1", "emptyDir")),
    (rules.disks_are_read_only, "a mount of nothing", _mount("gateway", name="other")),
    (rules.disks_are_read_only, "a mount elsewhere", _mount("gateway", mountPath="/etc")),
    (rules.pods_know_no_cluster, "a token", _in_pod("gateway", automountServiceAccountToken=True)),
    (rules.pods_know_no_cluster, "a token by default", _drop("Deployment/gateway", *POD, "automountServiceAccountToken")),
    (rules.pods_know_no_cluster, "a token of the account", _drop("ServiceAccount/store", "automountServiceAccountToken")),
    (rules.pods_know_no_cluster, "a token of any account", _drop("ServiceAccount/deployer", "automountServiceAccountToken")),
    (rules.pods_know_no_cluster, "another's account", _in_pod("fetcher", serviceAccountName="store")),
    (rules.pods_know_no_cluster, "addresses", _drop("Job/migrate", *POD, "enableServiceLinks")),
    (rules.amounts_are_bounded, "no limit of memory", _drop("Deployment/fetcher", *CONTAINER, "resources", "limits", "memory")),
    (rules.amounts_are_bounded, "nothing requested", _drop("Job/migrate", *CONTAINER, "resources", "requests")),
    (rules.secrets_are_own_files, "another's secret", _volume("fetcher", 0, secret={"secretName": "fetchwork-store"})),
    (rules.secrets_are_own_files, "the owner's database",
     lambda manifests: _pod(manifests, "store")["volumes"].append({"name": "x", "secret": {"secretName": "fetchwork-migrate"}})),
    (rules.secrets_are_own_files, "for all to read", _volume("store", 0, secret={"secretName": "fetchwork-store"})),
    (rules.secrets_are_own_files, "elsewhere", _mount("store", mountPath="/secrets")),
    (rules.secrets_are_own_files, "for all to write", _mount("store", readOnly=False)),
    (rules.secrets_are_own_files, "as a variable", _variable("gateway", "FETCHWORK_API_KEY", "12345678")),
    (rules.secrets_are_own_files, "as variables",
     _in_container("gateway", envFrom=[{"secretRef": {"name": "fetchwork-gateway"}}])),
    (rules.secrets_are_own_files, "as a variable from elsewhere",
     _in_container("gateway", env=[{"name": "FETCHWORK_API_KEY", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}])),
    (rules.settings_are_known, "a typing error", _variable("store", "FETCHWORK_MIGRATE_AT_START", "false")),
    (rules.settings_are_known, "another's setting", _variable("gateway", "FETCHWORK_FETCHER_SLOTS", "1")),
    (rules.pods_could_start, "no store to read from", _in_container("gateway", env=[])),
    (rules.pods_could_start, "another store", _in_container("fetcher", env=[{"name": STORE_URL, "value": "http://store:8000"}])),
    (rules.pods_could_start, "a wrong word", _variable("store", "FETCHWORK_LOG_LEVEL", "loud")),
    (rules.settings_are_known, "one that migrating has no use for", _variable("migrate", "FETCHWORK_STORE_PORT", "8001")),
    (rules.ports_are_the_images_own, "another port",
     _in_container("store", ports=[{"name": "api", "containerPort": 8000}, {"name": "operations", "containerPort": 9103}])),
    (rules.ports_are_the_images_own, "a name that is not there",
     _in_spec("Service/store", ports=[{"port": 8001, "targetPort": "http"}])),
    (rules.ports_are_the_images_own, "operations for all",
     lambda manifests: manifests["Service/gateway"]["spec"]["ports"].append({"port": 9101, "targetPort": "operations"})),
    (rules.ports_are_the_images_own, "a port that callers do not know",
     _in_spec("Service/store", ports=[{"port": 80, "targetPort": "api"}])),
    (rules.ports_are_the_images_own, "no Service", _drop("Service/store")),
    (rules.probes_ask_for_operators, "no readiness", _drop("Deployment/store", *CONTAINER, "readinessProbe")),
    (rules.probes_ask_for_operators, "ready when alive",
     lambda manifests: _pod(manifests, "store")["containers"][0]["readinessProbe"]["httpGet"].update(path="/livez")),
    (rules.probes_ask_for_operators, "killed with its database",
     lambda manifests: _pod(manifests, "store")["containers"][0]["livenessProbe"]["httpGet"].update(path="/readyz")),
    (rules.probes_ask_for_operators, "impatient",
     lambda manifests: _pod(manifests, "store")["containers"][0]["livenessProbe"].update(timeoutSeconds=1)),
    (rules.probes_ask_for_operators, "killed while it starts",
     lambda manifests: _pod(manifests, "fetcher")["containers"][0]["startupProbe"].pop("failureThreshold")),
    (rules.stops_have_time, "killed while it drains", _in_pod("fetcher", terminationGracePeriodSeconds=80)),
    (rules.stops_have_time, "the cluster's default", _drop("Deployment/store", *POD, "terminationGracePeriodSeconds")),
    (rules.stops_have_time, "no pause", _drop("Deployment/gateway", *CONTAINER, "lifecycle")),
    (rules.stops_have_time, "a long pause", _in_container("store", lifecycle={"preStop": {"sleep": {"seconds": 20}}})),
]  # fmt: skip

FLEET_BREAKS: list[tuple[Rule, str, Break]] = [
    *((fleet.namespace_asks_for_restricted_pods, f"{mode} is weaker",
       _drop("Namespace/fetchwork", "metadata", "labels", f"{fleet.STANDARD}/{mode}")) for mode in ("enforce", "audit", "warn")),
    (fleet.namespace_asks_for_restricted_pods, "elsewhere",
     lambda manifests: manifests["Deployment/store"]["metadata"].update(namespace="default")),
    (fleet.selectors_find_their_pods, "another's budget", _in_spec("PodDisruptionBudget/store", selector=SELECTS_GATEWAY)),
    (fleet.selectors_find_their_pods, "another's pods", _in_spec("Service/store", selector={rules.NAME: "gateway"})),
    (fleet.selectors_find_their_pods, "selects others", _in_spec("Deployment/store", selector=SELECTS_GATEWAY)),
    (fleet.selectors_find_their_pods, "spread by others",
     lambda manifests: _pod(manifests, "store")["topologySpreadConstraints"][0].update(labelSelector=SELECTS_GATEWAY)),
    (fleet.selectors_find_their_pods, "the job's pods serve",
     lambda manifests: manifests["Job/migrate"]["spec"]["template"]["metadata"]["labels"].update({rules.NAME: "store"})),
    (fleet.replicas_have_one_owner, "both own them", _in_spec("Deployment/fetcher", replicas=2)),
    (fleet.replicas_have_one_owner, "nobody owns them", _drop("Deployment/store", "spec", "replicas")),
    (fleet.replicas_have_one_owner, "a single one", _in_spec("Deployment/store", replicas=1)),
    (fleet.replicas_have_one_owner, "down to one", _in_spec("HorizontalPodAutoscaler/gateway", minReplicas=1)),
    (fleet.replicas_have_one_owner, "nowhere to go", _in_spec("HorizontalPodAutoscaler/gateway", maxReplicas=2)),
    (fleet.replicas_have_one_owner, "no reason to", _in_spec("HorizontalPodAutoscaler/fetcher", metrics=[])),
    (fleet.replicas_have_one_owner, "two autoscalers", lambda manifests: manifests.update(
        {"ScaledObject/x": {**manifests["HorizontalPodAutoscaler/fetcher"], "kind": "ScaledObject"}})),
    (fleet.replicas_have_one_owner, "none", _drop("HorizontalPodAutoscaler/fetcher")),
    (fleet.roll_outs_keep_all_replicas, "all at once", _in_spec("Deployment/store", strategy={"type": "Recreate"})),
    (fleet.roll_outs_keep_all_replicas, "one less",
     _in_spec("Deployment/store", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})),
    (fleet.roll_outs_keep_all_replicas, "the release gives up first",
     _drop("Deployment/store", "spec", "progressDeadlineSeconds")),
    (fleet.roll_outs_keep_all_replicas, "no way back", _in_spec("Deployment/store", revisionHistoryLimit=0)),
    (fleet.roll_outs_keep_all_replicas, "a long history", _drop("Deployment/store", "spec", "revisionHistoryLimit")),
    (fleet.replicas_are_apart, "on one machine", _drop("Deployment/gateway", *POD, "topologySpreadConstraints")),
    (fleet.replicas_are_apart, "in one zone",
     lambda manifests: _pod(manifests, "fetcher")["topologySpreadConstraints"].pop()),
    (fleet.replicas_are_apart, "no budget", _drop("PodDisruptionBudget/fetcher")),
    (fleet.replicas_are_apart, "a budget for nobody", _in_spec("PodDisruptionBudget/store", maxUnavailable=0)),
    (fleet.schema_has_one_owner, "the store migrates too", _in_container("store", env=[])),
    (fleet.schema_has_one_owner, "the job serves", _drop("Job/migrate", *CONTAINER, "command")),
    (fleet.schema_has_one_owner, "the release gives up first", _in_spec("Job/migrate", activeDeadlineSeconds=600)),
    (fleet.schema_has_one_owner, "no end", _drop("Job/migrate", "spec", "activeDeadlineSeconds")),
    (fleet.schema_has_one_owner, "many tries", _drop("Job/migrate", "spec", "backoffLimit")),
    (fleet.schema_has_one_owner, "stays", _drop("Job/migrate", "spec", "ttlSecondsAfterFinished")),
]  # fmt: skip
BREAKS = [*POD_BREAKS, *FLEET_BREAKS]


@pytest.mark.parametrize(("rule", "broken", "apply"), BREAKS, ids=[f"{rule.__name__}: {broken}" for rule, broken, _ in BREAKS])
def test_rule_notices(production: Manifests, facts: Mapping[str, Facts], rule: Rule, broken: str, apply: Break) -> None:
    mutant = copy.deepcopy(production)
    apply(mutant)
    assert mutant != production
    assert rule(mutant, facts) != [], f"{rule.__name__} lets this pass: {broken}"


def test_every_rule_has_manifests_that_break_it() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(ALL_RULES)
