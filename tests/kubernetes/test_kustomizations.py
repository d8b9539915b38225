"""What is applied is what is in the folder: no file is left out, and each service is released with all that it is made of."""

import json
import re
from pathlib import Path

import pytest
import yaml
from catalog import CATALOG_FILE, CatalogError, Service, Workload, load_catalog
from cluster import Image, kustomization
from facts import SETTINGS
from kustomize_reader import Manifests, UnknownKustomization, read
from pydantic import SecretStr
from store.metrics import StoreMetrics

SERVICES = load_catalog().services
WORKLOADS = [(service, workload) for service in SERVICES for workload in (service.workload, service.migration) if workload]
SUFFIX = re.compile(r"_(bucket|sum|count)$")
APPLIED_LIMIT_BYTES = 256 * 1024
GIVEN_BY_SCRAPES = {"namespace", "le"}


@pytest.fixture(scope="module")
def with_keda(kubernetes: Path) -> Manifests:
    """The fetcher as KEDA scales it."""
    return read(kubernetes / "overlays/keda/fetcher").manifests


def test_no_file_is_left_out(kubernetes: Path) -> None:
    applied = [*(kubernetes / "overlays").glob("*/*"), kubernetes / "monitoring"]
    read_files = set().union(*(read(folder).files for folder in applied))
    assert {file for file in read_files if file.is_relative_to(kubernetes)} == set(kubernetes.rglob("*.yaml"))


def test_every_dashboard_is_handed_to_grafana(kubernetes: Path, repository: Path) -> None:
    maps = [manifest for manifest in read(kubernetes / "monitoring").manifests.values() if manifest["kind"] == "ConfigMap"]
    handed = {name: text for each in maps for name, text in each["data"].items()}
    dashboards = (repository / "deploy/grafana/dashboards").glob("*.json")
    assert handed == {file.name: file.read_text(encoding="utf-8") for file in dashboards}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
    for each in maps:
        assert len(json.dumps(each)) < APPLIED_LIMIT_BYTES, "kubectl apply keeps a copy in an annotation, which is bounded"


@pytest.mark.parametrize(("service", "workload"), WORKLOADS, ids=[workload.name for _, workload in WORKLOADS])
def test_release_applies_one_workload_and_watches_all_of_it(repository: Path, service: Service, workload: Workload) -> None:
    reading = read(repository / workload.manifests)
    assert f"ServiceAccount/{workload.name}" in reading.manifests
    assert {manifest["metadata"]["name"] for manifest in reading.manifests.values()} == {workload.name}
    paths = [file.relative_to(repository).as_posix() for file in reading.files]
    assert [path for path in paths if not path.startswith(service.paths)] == []


@pytest.mark.parametrize(("service", "workload"), WORKLOADS, ids=[workload.name for _, workload in WORKLOADS])
def test_release_finds_the_image_that_it_replaces(repository: Path, service: Service, workload: Workload) -> None:
    image = Image(f"fetchwork/{service.name}", "docker.io/house/x", digest="sha256:0", commit="c")
    [replaced] = json.loads(kustomization(workload, image))["images"]
    manifests = read(repository / workload.manifests).manifests.values()
    pods = [manifest["spec"]["template"]["spec"] for manifest in manifests if "template" in manifest.get("spec", {})]
    names = [container["image"].rpartition(":")[0] for pod in pods for container in pod["containers"]]
    assert names == [replaced["name"]]


def test_deployer_may_change_what_a_release_changes(repository: Path, kubernetes: Path, with_keda: Manifests) -> None:
    released = [read(repository / workload.manifests).manifests for _, workload in WORKLOADS]
    kinds = {manifest["kind"] for manifests in (*released, with_keda) for manifest in manifests.values()} | {"Secret"}
    role = read(kubernetes / "platform").manifests["Role/deployer"]
    changed = {resource for rule in role["rules"] if "patch" in rule["verbs"] for resource in rule["resources"]}
    assert changed == {f"{kind.lower()}s".replace("policys", "policies") for kind in kinds}
    named = {rule["resources"][0]: set(rule["resourceNames"]) for rule in role["rules"] if "resourceNames" in rule}
    names = {workload.name for _, workload in WORKLOADS}
    assert named == {"networkpolicies": names, "secrets": {f"fetchwork-{name}" for name in names}}
    assert not any("*" in str(rule) for rule in role["rules"])


def test_only_the_owner_of_the_schema_knows_its_database() -> None:
    given = {workload.name: workload.secret.get("DATABASE_URL") for _, workload in WORKLOADS}
    assert given == {"store": "DATABASE_URL", "migrate": "MIGRATION_DATABASE_URL", "fetcher": None, "gateway": None}


def test_every_secret_that_a_service_needs_is_handed_to_it() -> None:
    for service in SERVICES:
        fields = SETTINGS[service.name].model_fields
        needed = {name.upper() for name, info in fields.items() if info.annotation is SecretStr and info.is_required()}
        assert set(service.workload.secret) == needed, service.name


def test_manifests_outside_a_services_paths_are_refused(tmp_path: Path) -> None:
    document = json.loads(CATALOG_FILE.read_text(encoding="utf-8"))
    document["services"]["fetcher"]["manifests"] = "deploy/kubernetes/overlays/elsewhere/fetcher"
    file = tmp_path / "services.json"
    file.write_text(json.dumps(document))
    with pytest.raises(CatalogError, match="elsewhere/fetcher would not release 'fetcher'"):
        load_catalog(file)


def test_keda_replaces_the_plain_autoscaler_and_nothing_else(kubernetes: Path, with_keda: Manifests) -> None:
    plain = read(kubernetes / "overlays/production/fetcher").manifests
    assert plain.keys() - with_keda.keys() == {"HorizontalPodAutoscaler/fetcher"}
    assert with_keda.keys() - plain.keys() == {"ScaledObject/fetcher"}
    assert all(with_keda[key] == plain[key] for key in plain.keys() & with_keda.keys())
    scaled = with_keda["ScaledObject/fetcher"]
    assert scaled["metadata"]["annotations"]["scaledobject.keda.sh/transfer-hpa-ownership"] == "true"
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"] == "fetcher"


def test_keda_asks_for_metrics_that_the_store_has(with_keda: Manifests) -> None:
    triggers = [each for each in with_keda["ScaledObject/fetcher"]["spec"]["triggers"] if each["type"] == "prometheus"]
    families = {family.name: family for family in StoreMetrics().registry.collect()}
    asked = {name for trigger in triggers for name in re.findall(r"\bfetchwork_\w+", trigger["metadata"]["query"])}
    assert {SUFFIX.sub("", name) for name in asked} == {"fetchwork_queue_wait_seconds", "fetchwork_queue_oldest_seconds"}
    for name in asked:
        family = families[SUFFIX.sub("", name)]
        assert (family.type == "histogram") == bool(SUFFIX.search(name)), name
    labels = {label for trigger in triggers for label in re.findall(r"(\w+)=\"|by \((\w+)\)", trigger["metadata"]["query"])}
    assert {name for pair in labels for name in pair if name} == GIVEN_BY_SCRAPES
    for trigger in triggers:
        assert trigger["metricType"] == "Value", "a wait is no sum over replicas"
        assert trigger["metadata"]["ignoreNullValues"] == "false", "a store that is not scraped is no idle store"


def test_prometheus_finds_every_operations_port(kubernetes: Path, repository: Path) -> None:
    spec = read(kubernetes / "monitoring").manifests["PodMonitor/fetchwork"]["spec"]
    [endpoint] = spec["podMetricsEndpoints"]
    for service in SERVICES:
        manifests = read(repository / service.workload.manifests).manifests
        template = manifests[f"Deployment/{service.name}"]["spec"]["template"]
        assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert endpoint["port"] in [port["name"] for port in template["spec"]["containers"][0]["ports"]]


PLAIN = {"namespace": "fetchwork", "resources": ["policy.yaml"]}
MERGE = {"patch": "{kind: NetworkPolicy, metadata: {name: x}}"}
ADD = "[{op: add, path: /spec/egress/-, value: {}}]"
POLICY = {"kind": "NetworkPolicy", "name": "x"}


def _write(folder: Path, **changes: object) -> None:
    policy = {"kind": "NetworkPolicy", "metadata": {"name": "x"}, "spec": {"egress": []}}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(PLAIN | changes))


def test_reader_applies_the_patch_that_the_readme_shows(tmp_path: Path) -> None:
    _write(tmp_path, patches=[{"target": POLICY, "patch": ADD}])
    assert read(tmp_path).manifests["NetworkPolicy/x"]["spec"] == {"egress": [{}]}


@pytest.mark.parametrize(
    "change",
    [
        {"images": []},
        {"configMapGenerator": [{"name": "x", "files": ["policy.yaml"]}]},
        {"configMapGenerator": [{"name": "x", "literals": ["a=b"]}], "generatorOptions": {"disableNameSuffixHash": True}},
        {"configMapGenerator": [{"name": "x", "files": ["../x"]}], "generatorOptions": {"disableNameSuffixHash": True}},
        {"patches": [MERGE]},
        {"patches": [{"target": {"kind": "NetworkPolicy"}, "patch": ADD}]},
        {"patches": [{"target": POLICY, "patch": ADD.replace("add", "replace")}]},
        {"patches": [{"target": POLICY, "patch": ADD.replace("-,", "0,")}]},
    ],
)
def test_reader_refuses_what_it_would_misread(tmp_path: Path, change: dict[str, object]) -> None:
    _write(tmp_path)
    assert list(read(tmp_path).manifests) == ["NetworkPolicy/x"]
    _write(tmp_path, **change)
    with pytest.raises(UnknownKustomization):
        read(tmp_path)
