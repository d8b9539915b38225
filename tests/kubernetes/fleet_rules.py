"""What must hold for the objects around the pods: who owns replicas, how they roll, who finds them, what the namespace asks."""

from collections.abc import Mapping

from cluster import MIGRATION_TIMEOUT_SECONDS, NAMESPACE, ROLLOUT_TIMEOUT_SECONDS
from facts import Facts
from kustomize_reader import Manifest, Manifests
from pod_rules import NAME, Rule, deployments, workloads

AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
SCALED = {"fetcher", "gateway"}
SPREAD_OVER = {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
HISTORY_LIMIT = 10
STANDARD = "pod-security.kubernetes.io"


def namespace_asks_for_restricted_pods(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """Everything is in one namespace, which refuses other pods."""
    problems = [
        f"{key} is in {manifest['metadata'].get('namespace')}"
        for key, manifest in manifests.items()
        if manifest["kind"] != "Namespace" and manifest["metadata"].get("namespace") != NAMESPACE
    ]
    labels = manifests.get(f"Namespace/{NAMESPACE}", {}).get("metadata", {}).get("labels", {})
    modes = {mode: labels.get(f"{STANDARD}/{mode}") for mode in ("enforce", "audit", "warn")}
    return problems + [f"{mode} is {standard}" for mode, standard in modes.items() if standard != "restricted"]


def selectors_find_their_pods(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """A Deployment, Service, budget and spread of a name select the pods of that name, which are nobody else's."""
    problems = []
    for name, workload in workloads(manifests):
        problems += [] if workload["spec"]["template"]["metadata"]["labels"].get(NAME) == name else [f"{name}: its pods' label"]
    for key, manifest in manifests.items():
        wanted = {NAME: manifest["metadata"]["name"]}
        problems += [f"{key} selects {given}" for given in _selectors(manifest) if given != wanted]
    return problems


def _selectors(manifest: Manifest) -> list[dict[str, str]]:
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        return [spec["selector"]]
    if manifest["kind"] == "Deployment":
        spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
        return [spec["selector"]["matchLabels"], *(each["labelSelector"]["matchLabels"] for each in spread)]
    return [spec["selector"]["matchLabels"]] if manifest["kind"] == "PodDisruptionBudget" else []


def replicas_have_one_owner(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """An autoscaler owns the number, or the manifest does, never both, never two; and always two replicas at least."""
    problems = []
    scalers = [manifest for manifest in manifests.values() if manifest["kind"] in AUTOSCALERS]
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
    if sorted(targets) != sorted(SCALED):
        problems.append(f"autoscalers of {sorted(targets)}")
    problems += [f"{_minimum(scaler)} replicas" for scaler in scalers if not 2 <= _minimum(scaler) < _maximum(scaler)]
    problems += [f"nothing moves {scaler['metadata']['name']}" for scaler in scalers if not _has_reasons(scaler["spec"])]
    for name, deployment in deployments(manifests):
        if (name in targets) == ("replicas" in deployment) or deployment.get("replicas", 2) < 2:
            problems.append(f"{name}: replicas")
    return problems


def _minimum(scaler: Manifest) -> int:
    spec = scaler["spec"]
    return int(spec.get("minReplicas", spec.get("minReplicaCount", 0)))


def _maximum(scaler: Manifest) -> int:
    spec = scaler["spec"]
    return int(spec.get("maxReplicas", spec.get("maxReplicaCount", 0)))


def _has_reasons(spec: Manifest) -> bool:
    """Whether it scales a Deployment, by a share of the CPU that a replica asks for (KEDA: among others)."""
    if "triggers" in spec:
        return {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}} in spec["triggers"]
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    return spec["scaleTargetRef"]["kind"] == "Deployment" and {"type": "Resource", "resource": cpu} in spec.get("metrics", [])


def roll_outs_keep_all_replicas(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """None goes before a new one is ready; the cluster gives up before the release does; the history is short."""
    problems = []
    for name, deployment in deployments(manifests):
        if deployment["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
            problems.append(f"{name}: goes before its successor is ready")
        if deployment.get("progressDeadlineSeconds", 600) >= ROLLOUT_TIMEOUT_SECONDS:
            problems.append(f"{name}: the release gives up first")
        if not 1 <= deployment.get("revisionHistoryLimit", HISTORY_LIMIT) < HISTORY_LIMIT:
            problems.append(f"{name}: its history")
    return problems


def replicas_are_apart(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """Over machines and zones, and one voluntary disruption at a time."""
    problems = []
    for name, deployment in deployments(manifests):
        spread = deployment["template"]["spec"].get("topologySpreadConstraints", [])
        if {each["topologyKey"] for each in spread} != SPREAD_OVER:
            problems.append(f"{name}: not spread")
        if manifests.get(f"PodDisruptionBudget/{name}", {}).get("spec", {}).get("maxUnavailable") != 1:
            problems.append(f"{name}: no budget of one")
    return problems


def schema_has_one_owner(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """The store never migrates; the job does nothing else, ends before the release stops waiting, and leaves by itself."""
    problems = []
    [store] = manifests["Deployment/store"]["spec"]["template"]["spec"]["containers"]
    if {"name": "FETCHWORK_MIGRATE_ON_START", "value": "false"} not in store["env"]:
        problems.append("the store migrates")
    job = manifests["Job/migrate"]["spec"]
    [migrate] = job["template"]["spec"]["containers"]
    if migrate.get("command") != ["python", "-m", "store", "migrate"] or job["template"]["spec"]["restartPolicy"] != "Never":
        problems.append("the job does not migrate")
    seconds, tries = job.get("activeDeadlineSeconds", 0), job.get("backoffLimit", 6)
    if not 0 < seconds < MIGRATION_TIMEOUT_SECONDS or tries > 3 or "ttlSecondsAfterFinished" not in job:
        problems.append("the job has no end")
    return problems


FLEET_RULES: tuple[Rule, ...] = (
    namespace_asks_for_restricted_pods, selectors_find_their_pods, replicas_have_one_owner, roll_outs_keep_all_replicas,
    replicas_are_apart, schema_has_one_owner,
)  # fmt: skip
