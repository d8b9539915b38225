"""Read a kustomization as kustomize does, for the few things that ours use; anything else is refused, not misread."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
Manifests = dict[str, Manifest]
KNOWN_KEYS = {"apiVersion", "kind", "namespace", "resources", "patches", "generatorOptions", "configMapGenerator"}
WITHOUT_NAMESPACE = {"Namespace"}


class UnknownKustomization(Exception):
    """A kustomization uses what this reader does not know."""


@dataclass
class Reading:
    """Manifests by `Kind/name`, and every file that was read for them."""

    manifests: Manifests = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)

    def add(self, other: "Reading") -> None:
        """Take in what another reading found; the same object twice is a mistake."""
        if twice := self.manifests.keys() & other.manifests.keys():
            raise UnknownKustomization(f"twice: {', '.join(sorted(twice))}")
        self.manifests.update(other.manifests)
        self.files |= other.files


def read(folder: Path) -> Reading:
    """What `kubectl apply --kustomize folder` would send."""
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
    if unknown := kustomization.keys() - KNOWN_KEYS:
        raise UnknownKustomization(f"{file}: {', '.join(sorted(unknown))}")
    reading = Reading(files={file})
    for name in kustomization.get("resources", []):
        resource = (folder / name).resolve()
        reading.add(read(resource) if resource.is_dir() else _documents(resource))
    for generator in kustomization.get("configMapGenerator", []):
        reading.add(_config_map(folder, generator, kustomization.get("generatorOptions", {})))
    for patch in kustomization.get("patches", []):
        _apply(reading.manifests, yaml.safe_load(patch["patch"]), patch.get("target"))
    for manifest in reading.manifests.values():
        if manifest["kind"] not in WITHOUT_NAMESPACE:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
    return reading


def read_all(*folders: Path) -> Reading:
    """What applying all of them would send."""
    reading = Reading()
    for folder in folders:
        reading.add(read(folder))
    return reading


def _documents(file: Path) -> Reading:
    documents = [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]
    return Reading({_key(document): document for document in documents}, {file})


def _config_map(folder: Path, generator: dict[str, Any], options: dict[str, Any]) -> Reading:
    """A ConfigMap of files in or below the folder (others kustomize refuses to load), without the hash that names usually get."""
    if generator.keys() != {"name", "files"} or options.keys() - {"labels"} != {"disableNameSuffixHash"}:
        raise UnknownKustomization(f"{folder}: a generator of more than files, or one that adds a hash")
    files = [(folder / name).resolve() for name in generator["files"]]
    if not options["disableNameSuffixHash"] or not all(file.is_relative_to(folder.resolve()) for file in files):
        raise UnknownKustomization(f"{folder}: {generator['name']}")
    metadata = {"name": generator["name"], "labels": dict(options.get("labels", {}))}
    data = {file.name: file.read_text(encoding="utf-8") for file in files}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return Reading({_key(document): document}, set(files))


def _apply(manifests: Manifests, patch: Any, target: dict[str, str] | None) -> None:
    if target is None and isinstance(patch, dict) and patch.get("$patch") == "delete":
        del manifests[_key(patch)]
    elif target and set(target) == {"kind", "name"} and all(set(change) == {"op", "path", "value"} for change in patch):
        for change in patch:
            _change(manifests[f"{target['kind']}/{target['name']}"], **change)
    else:
        raise UnknownKustomization("a patch that neither deletes an object nor adds to one")


def _change(manifest: Manifest, op: str, path: str, value: Any) -> None:
    """Add a field, or an entry at the end of a list (RFC 6902 section 4.1)."""
    *steps, last = path.strip("/").split("/")
    inner: Any = manifest
    for step in steps:
        inner = inner[int(step) if step.isdigit() else step]
    if op != "add" or (last == "-") != isinstance(inner, list):
        raise UnknownKustomization(f"{op} {path}")
    if isinstance(inner, list):
        inner.append(value)
    else:
        inner[last] = value


def _key(document: Manifest) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"
