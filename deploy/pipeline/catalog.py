"""What the pipeline knows about the services: their files, what a deploy puts on the cluster, and the order of deploys.

Reads `services.json`. The order there is the order of deploys: the store first, since it brings the schema that others rely on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATALOG_FILE = Path(__file__).with_name("services.json")
MIGRATION = "migrate"


class CatalogError(Exception):
    """services.json says something that the pipeline cannot work with."""


@dataclass(frozen=True)
class Workload:
    """What is applied in one go: a folder with a kustomization, and the secret `fetchwork-<name>` that its pods read.

    `secret` has, for each setting in it, the variable of the deploy's environment that holds the value.
    """

    name: str
    manifests: str
    secret: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """One service. A change under `paths` asks for a new image; a `migration` must have ended well before it rolls out."""

    name: str
    paths: tuple[str, ...]
    workload: Workload
    migration: Workload | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """Every variable that a deploy of this service is handed a secret in."""
        before = self.migration.secret.values() if self.migration else ()
        return (*self.workload.secret.values(), *before)


@dataclass(frozen=True)
class Catalog:
    """All services in order of deploy.

    A change under `shared` asks for a new image of each. What `ignored` names, wherever it is, never enters an image.
    """

    shared: tuple[str, ...]
    ignored: tuple[str, ...]
    services: tuple[Service, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all services, in order of deploy."""
        return tuple(service.name for service in self.services)

    def service(self, name: str) -> Service:
        """The service of that name."""
        for service in self.services:
            if service.name == name:
                return service
        raise CatalogError(f"there is no service {name!r}; there are {', '.join(self.names)}")


def load_catalog(file: Path = CATALOG_FILE) -> Catalog:
    """Read the catalog and refuse one that would make the pipeline skip something silently."""
    document = json.loads(file.read_text(encoding="utf-8"))
    services = tuple(_service(name, entry) for name, entry in document["services"].items())
    catalog = Catalog(shared=tuple(document["shared"]), ignored=tuple(document["ignored"]), services=services)
    if not services:
        raise CatalogError(f"{file.name} names no service")
    return catalog


def _service(name: str, entry: dict[str, Any]) -> Service:
    if not entry["paths"]:
        raise CatalogError(f"service {name!r} has no paths, so no change would ever reach it")
    migration = _workload(MIGRATION, entry["migration"]) if "migration" in entry else None
    service = Service(name=name, paths=tuple(entry["paths"]), workload=_workload(name, entry), migration=migration)
    for workload in filter(None, (service.workload, migration)):
        if f"{workload.manifests}/" not in service.paths:
            raise CatalogError(f"a change of {workload.manifests} would not release {name!r}, since its paths lack it")
    return service


def _workload(name: str, entry: dict[str, Any]) -> Workload:
    """Settings are a list when each is handed over in the variable of its name, else each with its variable."""
    settings = entry["settings"]
    secret = dict(settings) if isinstance(settings, dict) else {setting: setting for setting in settings}
    return Workload(name=name, manifests=entry["manifests"], secret=secret)
