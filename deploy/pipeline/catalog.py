"""What the pipeline knows about the services: their files, the secret settings that each reads, and the order of deploys.

Reads `services.json`. The order there is the order of deploys: the store first, since it brings the schema that others rely on.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATALOG_FILE = Path(__file__).with_name("services.json")


class CatalogError(Exception):
    """services.json says something that the pipeline cannot work with."""


@dataclass(frozen=True)
class Service:
    """One service: a change under `paths` asks for a new image; `settings` are the secrets that a deploy hands to it."""

    name: str
    paths: tuple[str, ...]
    settings: tuple[str, ...]


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
    return Service(name=name, paths=tuple(entry["paths"]), settings=tuple(entry["settings"]))
