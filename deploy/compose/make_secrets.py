"""Make every secret of the compose stack, once: random, and each reader gets a folder with exactly what it may know.

Runs in a container of its own, without a network, before anything else. Each folder is a volume that one service mounts at
/run/secrets. The values themselves are in a volume that nothing else mounts, so that a second run changes nothing.
"""

import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

EVENTS = "redis://{user}:{password}@events:6379/0"
BROKER = "redis://{user}:{password}@broker:6379/0"
DATABASE = "postgresql://{role}:{password}@postgres:5432/fetchwork"
SECRET_BYTES = 32
PLACEHOLDER = re.compile(r"@([a-z_]+)@")
OWN_API_KEY = "FETCHWORK_API_KEY"
ALERT_URLS = {"page_url": "FETCHWORK_ALERT_PAGE_URL", "ticket_url": "FETCHWORK_ALERT_TICKET_URL"}
"""Where alerts are told of: only their operator knows, so none is made. The file, and the variable that it is from."""

Secret = Callable[[str], str]


def main(folders: Path, access_lists: Path) -> None:
    """Fill the folder of every reader below `folders`."""
    vault = _Vault(folders / "vault")
    if os.environ.get(OWN_API_KEY):
        _write(vault.folder / "api_key", os.environ[OWN_API_KEY])
    for reader, files in _readers(vault.read, access_lists).items():
        for name, text in files.items():
            _write(folders / reader / name, text)


class _Vault:
    """Where the values are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> str:
        """The value of that name, made when it is asked for the first time."""
        path = self.folder / name
        if not path.exists():
            _write(path, secrets.token_urlsafe(SECRET_BYTES))
        return path.read_text(encoding="utf-8")


def _readers(secret: Secret, access_lists: Path) -> Mapping[str, Mapping[str, str]]:
    def events(user: str) -> str:
        return EVENTS.format(user=user, password=secret(f"events_{user}"))

    def broker(user: str) -> str:
        return BROKER.format(user=user, password=secret(f"broker_{user}"))

    def database(role: str) -> str:
        return DATABASE.format(role=f"fetchwork_{role}", password=secret(f"postgres_{role}"))

    def redis(name: str) -> Mapping[str, str]:
        template = (access_lists / f"{name}.acl").read_text(encoding="utf-8")
        return {"users.acl": _access_list(template, secret), "health": secret(f"{name}_health")}

    return {
        "gateway": {
            "fetchwork_api_key": secret("api_key"),
            "fetchwork_events_url": events("gateway"),
            "fetchwork_store_token": secret("store_token"),
        },
        "fetcher": {
            "fetchwork_events_url": events("fetcher"),
            "fetchwork_broker_url": broker("fetcher"),
            "fetchwork_store_token": secret("store_token"),
        },
        "store": {
            "fetchwork_events_url": events("store"),
            "fetchwork_broker_url": broker("store"),
            "fetchwork_database_url": database("store"),
            "fetchwork_store_token": secret("store_token"),
        },
        "migrate": {"fetchwork_database_url": database("owner")},
        "postgres": {name: secret(f"postgres_{name}") for name in ("superuser", "owner", "store")},
        "events": {**redis("events"), "backup": secret("events_backup")},
        "broker": redis("broker"),
        "grafana": {"admin_password": secret("grafana_admin")},
        "alertmanager": {name: os.environ[variable] for name, variable in ALERT_URLS.items() if os.environ.get(variable)},
    }


def _access_list(template: str, secret: Secret) -> str:
    """Each @name@ becomes the digest of that secret, so that a Redis never holds a password. Redis refuses comments: no such."""
    rules = "".join(line for line in template.splitlines(keepends=True) if line.startswith("user "))
    return PLACEHOLDER.sub(lambda match: sha256(secret(match[1]).encode()).hexdigest(), rules)


def _write(path: Path, text: str) -> None:
    """Whole or not at all. Readable by any user, since each service has its own and only one service mounts the folder."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.chmod(0o444)
    unfinished.replace(path)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
