"""One embedded stack, from `fetchwork up` to `fetchwork down`: the story, told by the modules beside this one.

home and state decide where things are, programs says what runs, supervision runs it, readiness finds out whether it serves.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fetchwork_local import supervision
from fetchwork_local.errors import NotReady, StackError
from fetchwork_local.home import Home, home_from
from fetchwork_local.privileges import Command
from fetchwork_local.programs import SERVICES, STATUS_ORDER, prepare_data, stack_programs
from fetchwork_local.readiness import demo_url, diagnose, fetch_demo_origin, is_ready, metrics_urls
from fetchwork_local.state import StackState, recall, remove_socket_folder, renew
from fetchwork_local.waiting import never, wait_until

READY_TIMEOUT_SECONDS = 60.0
STARTS_LIMIT = 10
"""Starts of one program, about a second apart, after which it is useless to go on waiting for it."""
HEARD_TIMEOUT_SECONDS = 15.0
"""How long another command may hold the home before it starts supervisord: it may be making a database."""
STOP_TIMEOUT_SECONDS = 200.0
"""Longer than all programs together may take; supervisord kills each at its own limit."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """A stack as `fetchwork status --json` shows it. Without a running stack there is only `home`."""

    ready: bool
    home: str
    gateway: str | None = None
    api_key: str | None = None
    demo: str | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, int | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


class Stack:
    """The stack of one home. Any number of these objects, in any number of processes, may look at the same home.

    `environment` is laid over this process's own; it names the home, the port and the key when the arguments do not, and
    tunes the services. `services` says what to run as each service.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        services: Mapping[str, Command] = SERVICES,
    ) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self.home = Home(home.absolute()) if home else home_from(self._environment.get("FETCHWORK_HOME"))
        self._port = port or _port(self._environment.get("FETCHWORK_PORT", ""))
        self._services = services
        self._supervisord: subprocess.Popen[bytes] | None = None

    def start(
        self,
        *,
        timeout_seconds: float = READY_TIMEOUT_SECONDS,
        progress: Progress = lambda _: None,
        interrupted: Callable[[], bool] = never,
    ) -> StackStatus:
        """Start everything and return once a first fetch went through the whole path.

        Raises AlreadyRunning, PortTaken, NotReady, Interrupted or another StackError, and then leaves nothing running
        that was not running before.
        """
        self.home.create()
        lock = self.home.lock()
        try:
            progress("Preparing Postgres and Redis")
            state = renew(self.home, gateway_port=self._port, api_key=self._environment.get("FETCHWORK_API_KEY"))
            prepare_data(self.home, state)
            programs = stack_programs(self.home, state, caller=self._environment, services=self._services)
            supervision.write_configuration(self.home, programs, control_socket=state.control_socket)
            self._supervisord = supervision.start(self.home, lock=lock)
        except OSError as error:
            raise StackError(f"The stack cannot be set up in {self.home.folder}: {error}.") from error
        finally:
            os.close(lock)
        try:
            self._wait_until_ready(state, timeout_seconds=timeout_seconds, progress=progress, interrupted=interrupted)
        except BaseException:
            self.stop()
            raise
        return self.status()

    def stop(self, *, hurry: Callable[[], bool] = never) -> bool:
        """Stop everything, services first, each with time to finish what it does; False when nothing ran.

        Once `hurry()` is true the services are killed instead, which their work survives. Raises StackError.
        """
        if not self.home.is_locked():
            return False
        services = self._service_processes()
        self._ask_to_stop()
        state = recall(self.home)

        def has_ended() -> bool:
            if hurry():
                _kill(services)
            if state is not None:
                # Any request makes supervisord look at its children, which by itself it does once a second.
                supervision.process_ids(state.control_socket)
            return not self.home.is_locked()

        try:
            wait_until(has_ended, timeout_seconds=STOP_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise StackError(f"The stack did not stop {error}; see {self.home.logs / 'supervisord.log'}.") from error
        if self._supervisord is not None:
            self._supervisord.wait(timeout=HEARD_TIMEOUT_SECONDS)
        if state is not None:
            remove_socket_folder(state.control_socket)
        return True

    def status(self) -> StackStatus:
        """What runs now, and whether it serves. Waits a few seconds at most. Raises StackError."""
        state = recall(self.home)
        if state is None or not self.is_running():
            return StackStatus(ready=False, home=str(self.home.folder))
        found = supervision.process_ids(state.control_socket)
        processes = {name: found.get(name) for name in STATUS_ORDER}
        return StackStatus(
            ready=all(processes.values()) and is_ready(state),
            home=str(self.home.folder),
            gateway=state.gateway_url,
            api_key=state.secrets.api_key,
            demo=demo_url(state),
            metrics=metrics_urls(state),
            processes=processes,
        )

    def is_running(self) -> bool:
        """True while a supervisord, or a command that starts one, holds the home."""
        return self.home.is_locked()

    def supervisord_exit_code(self) -> int | None:
        """How the supervisord that this object started ended; None while it runs."""
        return self._supervisord.poll() if self._supervisord is not None else None

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(
        self, state: StackState, *, timeout_seconds: float, progress: Progress, interrupted: Callable[[], bool]
    ) -> None:
        seen: dict[str, set[int]] = {}

        def check() -> None:
            if (code := self.supervisord_exit_code()) is not None:
                raise NotReady(f"supervisord ended with code {code}")
            for name, pid in supervision.process_ids(state.control_socket).items():
                pids = seen.setdefault(name, set())
                pids.update({pid} if pid else ())
                if len(pids) > STARTS_LIMIT:
                    raise NotReady(f"{name} does not stay up")

        try:
            fetch_demo_origin(state, timeout_seconds=timeout_seconds, check=check, interrupted=interrupted, progress=progress)
        except (NotReady, TimeoutError) as error:
            faults = diagnose(self.home, state, starts={name: len(pids) for name, pids in seen.items()})
            raise NotReady(f"The stack did not become ready: {error}.\n{faults}") from error

    def _ask_to_stop(self) -> None:
        def is_heard() -> bool:
            return not self.home.is_locked() or supervision.terminate(self.home)

        try:
            wait_until(is_heard, timeout_seconds=HEARD_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise StackError(f"Another command holds {self.home.folder} and has not started a supervisord yet.") from error

    def _service_processes(self) -> list[psutil.Process]:
        """Handles that know their process for sure: psutil compares the start time before it signals."""
        state, found = recall(self.home), []
        for name, pid in (supervision.process_ids(state.control_socket) if state else {}).items():
            if name in self._services and pid:
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(pid))
        return found


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise StackError(f"FETCHWORK_PORT is {text!r}; set it to a number from 1 to 65535.")
    return int(text)
