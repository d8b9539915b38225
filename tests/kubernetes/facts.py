"""What the code and the images say, for the manifests to agree with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from common.chassis.settings import ProcessSettings
from fetcher.process import CLOSE_TIMEOUT_SECONDS
from fetcher.settings import FetcherSettings
from gateway.settings import GatewaySettings
from pydantic import SecretStr, ValidationError
from store.settings import MigrationSettings, StoreSettings

SETTINGS: dict[str, type[ProcessSettings]] = {
    "store": StoreSettings, "fetcher": FetcherSettings, "gateway": GatewaySettings, "migrate": MigrationSettings,
}  # fmt: skip
IMAGE_OF = {"migrate": "store"}
PORT_NAMES = {"FETCHWORK_METRICS_PORT": "operations", "FETCHWORK_PORT": "api", "FETCHWORK_STORE_PORT": "api"}
BUILD_VARIABLE = "FETCHWORK_REVISION"


@dataclass(frozen=True)
class Facts:
    """One service as it is without Kubernetes."""

    name: str
    user: int
    ports: dict[str, int]
    stop_seconds: float
    settings: frozenset[str]
    secrets: frozenset[str]
    given_by_image: dict[str, str]

    def faults(self, variables: Mapping[str, str]) -> list[str]:
        """What this service would say before it refuses to start with these variables beside those of its image."""
        given = self.given_by_image | dict(variables)
        values: dict[str, Any] = {variable.removeprefix("FETCHWORK_").lower(): value for variable, value in given.items()}
        try:
            return SETTINGS[self.name](**values).faults()
        except ValidationError as error:
            return [str(error)]


def facts_of(repository: Path, name: str) -> Facts:
    """The facts of the service of that name."""
    dockerfile = (repository / "services" / IMAGE_OF.get(name, name) / "Dockerfile").read_text(encoding="utf-8")
    fields = SETTINGS[name].model_fields
    given = {name: value for name, value in re.findall(r"\b(FETCHWORK_\w+)=([^\s$]+)", dockerfile) if name != BUILD_VARIABLE}
    variables = {f"FETCHWORK_{field.upper()}": info for field, info in fields.items()}
    user = re.search(r"^USER (\d+):\1$", dockerfile, re.MULTILINE)
    assert user, f"{name}: the image's user is not a number"
    return Facts(
        name=name,
        user=int(user[1]),
        ports=_ports(given),
        stop_seconds=_stop_seconds(repository, name),
        settings=frozenset(variables),
        secrets=frozenset(variable for variable, info in variables.items() if info.annotation is SecretStr),
        given_by_image=given,
    )


def _ports(given: Mapping[str, str]) -> dict[str, int]:
    ports = {name: int(given[variable]) for variable, name in PORT_NAMES.items() if variable in given}
    assert "operations" in ports
    return ports


def _stop_seconds(repository: Path, name: str) -> float:
    """The longest of what the containers of compose are given and, for the fetcher, what its code may take."""
    compose = yaml.safe_load((repository / "docker-compose.yml").read_text(encoding="utf-8"))
    given = re.fullmatch(r"(\d+)s", compose["services"][IMAGE_OF.get(name, name)]["stop_grace_period"])
    assert given, f"{name}: this test reads seconds only"
    drain = FetcherSettings.model_fields["fetcher_drain_seconds"].default if name == "fetcher" else 0
    return max(float(given[1]), drain + CLOSE_TIMEOUT_SECONDS)
