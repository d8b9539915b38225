"""What each service gets to know. Least privilege shows here: only the store is given the database, the gateway no broker.

A service sees the caller's tuning variables and nothing else of the caller's environment; no proxy variable ever.
"""

from collections.abc import Mapping

from fetchwork_local.ports import DEMO_ADDRESS, LOOPBACK
from fetchwork_local.postgres import database_url
from fetchwork_local.state import StackState
from fetchwork_local.valkey import redis_url

INHERITED_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"})
INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE_", "OTEL_", "FETCHWORK_")
DECIDED_BY_STACK = frozenset(
    {
        "FETCHWORK_HOME",
        "FETCHWORK_URL",
        "FETCHWORK_DEMO",
        "FETCHWORK_INSTANCE",
        "FETCHWORK_METRICS_BIND",
        "FETCHWORK_METRICS_PORT",
        "FETCHWORK_GATEWAY_BIND",
        "FETCHWORK_PORT",
        "FETCHWORK_API_KEY",
        "FETCHWORK_STORE_BIND",
        "FETCHWORK_STORE_PORT",
        "FETCHWORK_STORE_URL",
        "FETCHWORK_STORE_TOKEN",
        "FETCHWORK_EVENTS_URL",
        "FETCHWORK_BROKER_URL",
        "FETCHWORK_DATABASE_URL",
    }
)
"""The caller's values for these reach no process."""

Environment = dict[str, str]

SERVER_ENVIRONMENT: Environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""For Postgres, Valkey and the demo origin, which need nothing from the caller."""


def service_environments(state: StackState, *, caller: Mapping[str, str]) -> dict[str, Environment]:
    """The complete environment of each service. `caller` is the environment of whoever starts the stack."""
    common = {**_tuning(caller), **_common(state)}
    targets = _targets(allowed=caller.get("FETCHWORK_UNSAFE_TARGET_NETWORKS", ""))
    return {
        "store": {**common, **_store(state)},
        "fetcher": {**common, **_fetcher(state), **targets},
        "gateway": {**common, **_gateway(state), **targets},
    }


def _tuning(caller: Mapping[str, str]) -> Environment:
    return {
        "PYTHONUNBUFFERED": "1",
        # Threads that pack large bodies would each keep an arena of their own.
        "MALLOC_ARENA_MAX": "2",
        # The current folder must not shadow installed packages.
        "PYTHONSAFEPATH": "1",
        **{
            name: value
            for name, value in caller.items()
            if (name in INHERITED_NAMES or name.startswith(INHERITED_PREFIXES)) and name not in DECIDED_BY_STACK
        },
    }


def _common(state: StackState) -> Environment:
    return {
        "FETCHWORK_INSTANCE": "0",
        "FETCHWORK_METRICS_BIND": LOOPBACK,
        "FETCHWORK_EVENTS_URL": redis_url(port=state.ports.events, password=state.secrets.events_password),
        "FETCHWORK_STORE_URL": f"http://{LOOPBACK}:{state.ports.store}",
        "FETCHWORK_STORE_TOKEN": state.secrets.store_token,
    }


def _store(state: StackState) -> Environment:
    return {
        "FETCHWORK_METRICS_PORT": str(state.ports.store_metrics),
        "FETCHWORK_STORE_BIND": LOOPBACK,
        "FETCHWORK_STORE_PORT": str(state.ports.store),
        "FETCHWORK_BROKER_URL": _broker_url(state),
        "FETCHWORK_DATABASE_URL": database_url(port=state.ports.postgres, password=state.secrets.postgres_password),
    }


def _fetcher(state: StackState) -> Environment:
    return {
        "FETCHWORK_METRICS_PORT": str(state.ports.fetcher_metrics),
        "FETCHWORK_BROKER_URL": _broker_url(state),
    }


def _gateway(state: StackState) -> Environment:
    return {
        "FETCHWORK_METRICS_PORT": str(state.ports.gateway_metrics),
        "FETCHWORK_GATEWAY_BIND": LOOPBACK,
        "FETCHWORK_PORT": str(state.ports.gateway),
        "FETCHWORK_API_KEY": state.secrets.api_key,
    }


def _targets(*, allowed: str) -> Environment:
    """Of whoever fetches, and of whoever plans what would be fetched."""
    return {"FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{allowed},{DEMO_ADDRESS}/32".lstrip(",")}


def _broker_url(state: StackState) -> str:
    return redis_url(port=state.ports.broker, password=state.secrets.broker_password)
