"""What must hold for every pod, whatever runs in it. Each rule returns what is wrong, in words.

Kept apart from the tests so that each rule can be shown manifests that break it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from catalog import load_catalog
from common.chassis.operations_port import TICK_TIMEOUT_SECONDS
from facts import IMAGE_OF, Facts
from kustomize_reader import Manifest, Manifests

Rule = Callable[[Manifests, Mapping[str, Facts]], list[str]]

NAME = "app.kubernetes.io/name"
WORKLOAD_KINDS = ("Deployment", "Job", "CronJob", "StatefulSet", "DaemonSet", "Pod", "ReplicaSet")
HOST_DOORS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace")
MOUNTS = {"/tmp": "tmp", "/run/secrets": "secrets"}
AMOUNTS = {"cpu", "memory", "ephemeral-storage"}
PROBES = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
STORE_URL = "http://store:{port}"
START_SECONDS = 30


def workloads(manifests: Manifests) -> Iterator[tuple[str, Manifest]]:
    """Everything that makes pods."""
    for manifest in manifests.values():
        if manifest["kind"] in WORKLOAD_KINDS:
            yield manifest["metadata"]["name"], manifest


def deployments(manifests: Manifests) -> Iterator[tuple[str, Manifest]]:
    """Everything that serves."""
    yield from ((name, workload["spec"]) for name, workload in workloads(manifests) if workload["kind"] == "Deployment")


def pods(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of each workload."""
    yield from ((name, workload["spec"]["template"]["spec"]) for name, workload in workloads(manifests))


def containers(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container, those that run before the others too."""
    for name, pod in pods(manifests):
        yield from ((name, container) for container in (*pod.get("initContainers", []), *pod["containers"]))


def workloads_are_known(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """Three deployments and a job, one container each, of the service's own placeholder image."""
    found = {f"{workload['kind']}/{name}" for name, workload in workloads(manifests)}
    expected = {*(f"Deployment/{name}" for name in facts.keys() - IMAGE_OF.keys()), *(f"Job/{name}" for name in IMAGE_OF)}
    problems = [] if found == expected else [f"there are {sorted(found)}"]
    problems += [f"{name}: not one container" for name, pod in pods(manifests) if len(pod["containers"]) != 1]
    wanted = {name: f"fetchwork/{IMAGE_OF.get(name, name)}:local" for name, _ in pods(manifests)}
    return problems + [f"{name}: {each['image']}" for name, each in containers(manifests) if each["image"] != wanted[name]]


def users_are_the_images_own(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """Never root, and the number that the image names; so no container may say otherwise."""
    problems = []
    for name, pod in pods(manifests):
        user = facts[name].user
        context = pod.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}
        problems += [f"{name}: {key} is not {value}" for key, value in wanted.items() if context.get(key) != value]
    for name, container in containers(manifests):
        if container.get("securityContext", {}).keys() & {"runAsNonRoot", "runAsUser", "runAsGroup"}:
            problems.append(f"{name}: a container has a user of its own")
    return problems


def rights_are_given_up(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """No capability, no way to gain one, only the runtime's system calls, nothing of the host."""
    problems = []
    for name, pod in pods(manifests):
        if pod.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            problems.append(f"{name}: any system call")
        problems += [f"{name}: {door}" for door in HOST_DOORS if door in pod]
    for name, container in containers(manifests):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            problems.append(f"{name}: may gain rights")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            problems.append(f"{name}: keeps capabilities")
        if "seccompProfile" in context or any("hostPort" in port for port in container.get("ports", [])):
            problems.append(f"{name}: opens a door of its own")
    return problems


def disks_are_read_only(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """Nothing can be written but a small /tmp in memory; nothing is mounted but that and secrets."""
    problems = []
    for name, pod in pods(manifests):
        for volume in pod["volumes"]:
            kinds = volume.keys() - {"name"}
            memory = volume.get("emptyDir", {"medium": "Memory", "sizeLimit": "any"})
            if kinds not in ({"emptyDir"}, {"secret"}) or memory.get("medium") != "Memory" or "sizeLimit" not in memory:
                problems.append(f"{name}: volume {volume['name']} is no bounded memory and no secret")
        if {volume["name"]: "secret" in volume for volume in pod["volumes"]} != {"secrets": True, "tmp": False}:
            problems.append(f"{name}: other volumes than its secrets and /tmp")
    for name, container in containers(manifests):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            problems.append(f"{name}: its own files can be changed")
        if {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]} != MOUNTS:
            problems.append(f"{name}: other mounts than /tmp and /run/secrets")
    return problems


def pods_know_no_cluster(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """An identity each, without a token; no addresses of others in the environment."""
    accounts = [manifest for manifest in manifests.values() if manifest["kind"] == "ServiceAccount"]
    problems = ["an account with a token" for account in accounts if account.get("automountServiceAccountToken") is not False]
    for name, pod in pods(manifests):
        account = manifests.get(f"ServiceAccount/{pod.get('serviceAccountName')}", {})
        if pod.get("serviceAccountName") != name or account.get("automountServiceAccountToken") is not False:
            problems.append(f"{name}: no account of its own without a token")
        if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
            problems.append(f"{name}: the cluster's token or addresses get in")
    return problems


def amounts_are_bounded(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """Every container says what it needs and what it may take at most."""
    return [
        f"{name}: {kind} lack {', '.join(sorted(missing))}"
        for name, container in containers(manifests)
        for kind in ("requests", "limits")
        if (missing := AMOUNTS - container.get("resources", {}).get(kind, {}).keys())
    ]


def secrets_are_own_files(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """Each pod reads the secret of its own name, as files that only its user and group may read; none is a variable."""
    problems = []
    for name, pod in pods(manifests):
        found = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
        if found != [{"secretName": f"fetchwork-{name}", "defaultMode": 0o440}]:
            problems.append(f"{name}: reads {found}")
    for name, container in containers(manifests):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        if not mounts.get("/run/secrets", {}).get("readOnly") or mounts["/run/secrets"]["name"] != "secrets":
            problems.append(f"{name}: secrets are not where settings look, or can be written")
        secrets = facts[name].secrets
        for variable in container.get("env", []):
            if "value" not in variable or variable["name"] in secrets:
                problems.append(f"{name}: {variable['name']} is a variable")
        problems += [f"{name}: variables from elsewhere"] if "envFrom" in container else []
    return problems


def settings_are_known(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """No variable that the service does not read; a typing error would silently mean the default."""
    return [
        f"{name}: {variable['name']} is no setting"
        for name, container in containers(manifests)
        for variable in container.get("env", [])
        if variable["name"] not in facts[name].settings
    ]


def pods_could_start(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """With its image's variables, the manifest's and its secret, no service would refuse its settings; and it finds the store."""
    problems = []
    released = [workload for service in load_catalog().services for workload in (service.workload, service.migration) if workload]
    handed = {workload.name: workload.secret for workload in released}
    for name, container in containers(manifests):
        service = facts[name]
        variables = {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
        secrets = {f"FETCHWORK_{setting}": f"{setting} of sixteen letters" for setting in handed[name]}
        problems += [f"{name}: {fault}" for fault in service.faults(secrets | variables)]
        store_url = variables.get("FETCHWORK_STORE_URL", STORE_URL.format(port=facts["store"].ports["api"]))
        if store_url != STORE_URL.format(port=facts["store"].ports["api"]):
            problems.append(f"{name}: {store_url} is not the store")
    return problems


def ports_are_the_images_own(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """A container's ports, and those that a Service leads to, are those that the image listens on."""
    problems = []
    for name, deployment in deployments(manifests):
        [container] = deployment["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        problems += [] if ports == facts[name].ports else [f"{name} names {ports} and listens on {facts[name].ports}"]
    services = {key.partition("/")[2]: each["spec"] for key, each in manifests.items() if each["kind"] == "Service"}
    wanted = {name: {(each.ports["api"], "api")} for name, each in facts.items() if "api" in each.ports and name not in IMAGE_OF}
    for name in services.keys() | wanted.keys():
        given = {(port["port"], port["targetPort"]) for port in services.get(name, {}).get("ports", [])}
        problems += [] if given == wanted.get(name) else [f"Service {name} leads to {given}"]
    return problems


def probes_ask_for_operators(manifests: Manifests, _: Mapping[str, Facts]) -> list[str]:
    """Started, ready and alive are asked on the operations port, and an answer may take as long as the code lets it."""
    problems = []
    for name, deployment in deployments(manifests):
        [container] = deployment["template"]["spec"]["containers"]
        for probe, path in PROBES.items():
            given = container.get(probe, {})
            if given.get("httpGet") != {"path": path, "port": "operations"} or given["timeoutSeconds"] <= TICK_TIMEOUT_SECONDS:
                problems.append(f"{name}: {probe}")
        started = container.get("startupProbe", {})
        if started.get("periodSeconds", 10) * started.get("failureThreshold", 3) < START_SECONDS:
            problems.append(f"{name}: killed while it starts")
    return problems


def stops_have_time(manifests: Manifests, facts: Mapping[str, Facts]) -> list[str]:
    """More than the service takes, after a pause in which callers hear of it; who is not called needs no pause."""
    problems = []
    for name, deployment in deployments(manifests):
        pod = deployment["template"]["spec"]
        pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if (pause > 0) != (f"Service/{name}" in manifests):
            problems.append(f"{name}: called without a pause, or a pause without a caller")
        settings = {each["name"]: each.get("value") for each in pod["containers"][0].get("env", [])}
        drain = float(settings.get("FETCHWORK_DRAIN_SECONDS") or 0)
        if pod.get("terminationGracePeriodSeconds", 30) <= facts[name].stop_seconds + pause + drain:
            problems.append(f"{name}: killed before it has stopped")
    return problems


POD_RULES: tuple[Rule, ...] = (
    workloads_are_known, users_are_the_images_own, rights_are_given_up, disks_are_read_only, pods_know_no_cluster,
    amounts_are_bounded, secrets_are_own_files, settings_are_known, pods_could_start, ports_are_the_images_own,
    probes_ask_for_operators, stops_have_time,
)  # fmt: skip
