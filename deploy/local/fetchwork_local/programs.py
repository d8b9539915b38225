"""Every process of the stack as data: its command, the environment that it alone gets, and how it is stopped."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fetchwork_local import postgres, valkey
from fetchwork_local.environments import SERVER_ENVIRONMENT, Environment, service_environments
from fetchwork_local.home import Home
from fetchwork_local.ports import DEMO_ADDRESS
from fetchwork_local.privileges import Command, with_parent
from fetchwork_local.state import StackState

SERVICES: Mapping[str, Command] = {name: (sys.executable, "-m", name) for name in ("store", "fetcher", "gateway")}
DEMO = "demo"
STATUS_ORDER = ("gateway", "fetcher", "store", "postgres", "events", "broker")
"""The processes that a status names; the demo origin is no part of the product."""

# Programs start in the order of `stack_programs` and stop in reverse, one after the other: services first, while what a
# warm stop needs is still there. These are the seconds after which supervisord kills one.
STORE_STOP_SECONDS = 20
FETCHER_STOP_SECONDS = 75
GATEWAY_STOP_SECONDS = 15
POSTGRES_STOP_SECONDS = 30
STOP_SECONDS = {"store": STORE_STOP_SECONDS, "fetcher": FETCHER_STOP_SECONDS, "gateway": GATEWAY_STOP_SECONDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised process. `data_lock` names a file that it holds locked while it lives, so that no second one can."""

    name: str
    command: Command
    environment: Environment
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    data_lock: Path | None = None


def stack_programs(
    home: Home, state: StackState, *, caller: Mapping[str, str], services: Mapping[str, Command] = SERVICES
) -> list[Program]:
    """All programs in order of start. `caller` is the environment of whoever starts the stack."""
    environments = service_environments(state, caller=caller)
    return [
        *(_valkey(name, home) for name in ("events", "broker")),
        _postgres(home, state),
        _demo(state),
        *(
            Program(name=name, command=with_parent(command), environment=environments[name], stop_seconds=STOP_SECONDS[name])
            for name, command in services.items()
        ),
    ]


def prepare_data(home: Home, state: StackState) -> None:
    """Make what the servers need to start: their folders, configuration and cluster. Idempotent. Raises StackError."""
    ports, secrets = state.ports, state.secrets
    valkey.write_configuration(home.data / "events", port=ports.events, password=secrets.events_password, is_durable=True)
    valkey.write_configuration(home.data / "broker", port=ports.broker, password=secrets.broker_password, is_durable=False)
    postgres.create_cluster(home.data / "postgres", password=secrets.postgres_password)


def _valkey(name: str, home: Home) -> Program:
    folder = home.data / name
    return Program(
        name=name,
        command=valkey.valkey_command(folder),
        environment=SERVER_ENVIRONMENT,
        stop_signal=valkey.STOP_SIGNAL,
        data_lock=folder / "lock",
    )


def _postgres(home: Home, state: StackState) -> Program:
    return Program(
        name="postgres",
        command=postgres.postgres_command(home.data / "postgres", port=state.ports.postgres),
        environment=SERVER_ENVIRONMENT,
        stop_signal=postgres.STOP_SIGNAL,
        stop_seconds=POSTGRES_STOP_SECONDS,
    )


def _demo(state: StackState) -> Program:
    command = (sys.executable, "-m", "fetchwork_local.origin", DEMO_ADDRESS, str(state.ports.demo))
    return Program(name=DEMO, command=with_parent(command), environment=SERVER_ENVIRONMENT)
