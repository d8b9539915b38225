"""Load a service's settings once, from the environment and mounted secret files, or stop with every fault named."""

import socket
import sys
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS_FOLDER = Path("/run/secrets")
USAGE_EXIT_CODE = 2


class ProcessSettings(BaseSettings):
    """Settings that every process has. Names in the environment are upper case with the prefix `FETCHWORK_`."""

    model_config = SettingsConfigDict(
        env_prefix="FETCHWORK_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        secrets_dir=SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None,
    )

    instance: str = Field(
        default_factory=socket.gethostname,
        pattern="^[A-Za-z0-9._-]{1,64}$",
        description="Name of this replica, stable over restarts and shared with no other; the host name unless set.",
    )
    log_level: str = Field(default="info", pattern=r"^(debug|info|warning|error)$", description="Lowest level that is logged.")

    def faults(self) -> list[str]:
        """Settings that contradict each other, as sentences; a process with any refuses to start."""
        return []


class ServiceSettings(ProcessSettings):
    """Settings that every service has."""

    metrics_bind: str = Field(default="127.0.0.1", description="Address of the metrics and health port.")
    metrics_port: int = Field(ge=0, le=65535, description="Port of /metrics, /livez, /readyz and /startupz; 0 picks a free one.")
    events_url: SecretStr = Field(description="URL of the events Redis.")
    store_url: str = Field(default="", description="Base URL of the store's internal API.")
    store_token: SecretStr = Field(min_length=16, description="Shared secret between services and the store's internal API.")


Settings = TypeVar("Settings", bound=ProcessSettings)


def load_settings(settings_class: type[Settings]) -> Settings:
    """The settings, or exit with code 2 after naming every missing, malformed or contradictory one on stderr."""
    try:
        settings = settings_class()
    except ValidationError as error:
        _refuse([f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors()])
    faults = settings.faults()
    if faults:
        _refuse(faults)
    return settings


def _variable(location: tuple[int | str, ...]) -> str:
    return f"FETCHWORK_{str(location[0]).upper()}" if location else "settings"


def _refuse(faults: list[str]) -> NoReturn:
    print("Cannot start; fix these settings:", *(f"  {fault}" for fault in faults), sep="\n", file=sys.stderr)
    sys.exit(USAGE_EXIT_CODE)
