"""All processes of Fetchwork, each started, killed, stopped and changed by itself; ports, folder and data of one case only.

What ends without having been told to stay down is started again after a second, as the supervisor of `fetchwork up` would.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg
import psutil
from common.streams.connection import connect_redis
from fetchwork_local import postgres, valkey
from fetchwork_local.environments import service_environments
from fetchwork_local.ports import LOOPBACK, choose_ports, free_port
from fetchwork_local.privileges import Command, with_parent
from fetchwork_local.programs import SERVICES, stack_programs
from fetchwork_local.home import Home
from fetchwork_local.state import StackState
from redis.asyncio import Redis

from harness.failpoints import FAILPOINT
from harness.mould import Mould
from harness.mutants import MUTANT
from harness.origin import FaultOrigin
from harness.wire import Wire, open_wire

SERVERS = ("events", "broker", "postgres")
EVERYTHING = (*SERVERS, "store", "fetcher", "gateway")
RESTART_SECONDS = 1.0
LOOK_SECONDS = 0.05
READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 10
HARNESS_FOLDER = Path(__file__).parent.parent

SCALED = {
    "FETCHWORK_LEASE_MARGIN_SECONDS": "2",
    "FETCHWORK_TAKEOVER_IDLE_MS": "2000",
    "FETCHWORK_HOST_MAX_IN_FLIGHT": "256",
    "FETCHWORK_ABANDON_AFTER_DISPATCHES": "100",  # a test kills more often than a year does
    "FETCHWORK_STUCK_SECONDS": "10",
    "FETCHWORK_KEY_POLL_SECONDS": "1",
}
"""Settings of a case, so that it can wait for what takes minutes in production."""
WIRED_SERVERS = ("postgres", "events", "broker", "store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A process that ended: whose, its exit code (negative: the signal), when (time.time), and whether the case did it."""

    name: str
    code: int
    at: float
    was_killed: bool


@dataclass(slots=True, kw_only=True)
class Node:
    """One process: how it is started, whether it shall run, and what is to be different the next time it starts, or each time."""

    name: str
    role: str
    command: Command
    environment: Mapping[str, str]
    operations_port: int | None
    is_wanted: bool = False
    once: Mapping[str, str] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    restart_at: float = 0.0
    is_frozen: bool = False
    killed: bool = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self.process is not None and self.process.poll() is None


class Cluster:
    """The six processes of one case, more replicas where it adds them, and its origin."""

    def __init__(self, folder: Path, *, state: StackState, origin: FaultOrigin, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.state = state
        self.origin = origin
        self.deaths: list[Death] = []
        self.kills: Counter[str] = Counter()
        self.nodes: dict[str, Node] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        self._closing = AsyncExitStack()
        self._environment = {"FETCHWORK_UNSAFE_TARGET_NETWORKS": f"{origin.address}/32", **SCALED, **environment}

    @property
    def gateway_url(self) -> str:
        """Where clients reach it."""
        return self.state.gateway_url

    @property
    def api_key(self) -> str:
        """The key of all tests."""
        return self.state.secrets.api_key

    @property
    def database_url(self) -> str:
        """Straight to Postgres, past any wire."""
        return postgres.database_url(port=self.state.ports.postgres, password=self.state.secrets.postgres_password)

    def define(self) -> None:
        """Know the six processes. Starts none."""
        caller = {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **self._environment}
        for program in stack_programs(Home(self.folder), self.state, caller=caller):
            if program.name in EVERYTHING:
                port = program.environment.get("FETCHWORK_METRICS_PORT")
                self.nodes[program.name] = Node(
                    name=program.name,
                    role=program.name,
                    command=program.command,
                    environment=program.environment,
                    operations_port=int(port) if port else None,
                )

    def add_replica(self, role: str, name: str, **changes: str) -> None:
        """One more process of a service, under a name and on ports of its own. Starts with `start`."""
        ports = {"FETCHWORK_METRICS_PORT": str(free_port())}
        if role != "fetcher":
            ports[{"gateway": "FETCHWORK_PORT", "store": "FETCHWORK_STORE_PORT"}[role]] = str(free_port())
        caller = {**{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}, **self._environment}
        environment = service_environments(self.state, caller=caller)[role] | ports | {"FETCHWORK_INSTANCE": name} | changes
        self.nodes[name] = Node(
            name=name,
            role=role,
            command=with_parent(SERVICES[role]),
            environment=environment,
            operations_port=int(ports["FETCHWORK_METRICS_PORT"]),
        )

    async def wire(self, client: str, server: str) -> Wire:
        """Put a wire between a service and a server (of `WIRED_SERVERS`), from the service's next start on."""
        assert server in WIRED_SERVERS
        wire = await self._closing.enter_async_context(open_wire(getattr(self.state.ports, server)))
        self.wires[client, server] = wire
        node = self.nodes[client]
        node.environment = {
            name: value.replace(f"{LOOPBACK}:{wire.server_port}", f"{LOOPBACK}:{wire.port}")
            for name, value in node.environment.items()
        }
        return wire

    def change(self, name: str, *, each_time: bool = False, **environment: str) -> None:
        """Variables of a process from its next start on: for that one only, or `each_time`. FAILPOINT and MUTANT are such."""
        node = self.nodes[name]
        if each_time:
            node.always |= environment
        else:
            node.once = {**node.once, **environment}

    def start(self, *names: str) -> None:
        """Start these, or all; returns before they are ready."""
        for name in names or tuple(self.nodes):
            node = self.nodes[name]
            node.is_wanted = True
            if not node.is_running:
                self._spawn(node)

    async def boot(self) -> None:
        """Start all in the usual order and return once they serve."""
        self.start(*SERVERS)
        await self.wait_ready(*SERVERS)
        self.start()
        await self.wait_ready()

    def pid(self, name: str) -> int:
        """The process. Raises AssertionError while there is none."""
        node = self.nodes[name]
        assert node.process is not None and node.is_running, f"{name} is not running"
        return node.process.pid

    def kill(self, name: str, *, stays_down: bool = False, number: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL, or another signal to end it. It is started again after a second, unless it stays down."""
        node = self.nodes[name]
        node.is_wanted = not stays_down
        if node.is_running:
            assert node.process is not None
            node.killed = True
            self.kills[node.role] += 1
            node.process.send_signal(number)
            if number == signal.SIGKILL:
                node.process.wait(STOP_TIMEOUT_SECONDS)
                self._note_death(node)

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.nodes[name].is_frozen = True
        os.kill(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.nodes[name].is_frozen = False
        os.kill(self.pid(name), signal.SIGCONT)

    async def wait_ready(self, *names: str, seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Return once these, or all that shall run, serve. Raises AssertionError with the logs' ends."""
        wanted = names or tuple(name for name, node in self.nodes.items() if node.is_wanted)
        try:
            async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
                while not all([await self._is_ready(self.nodes[name], session) for name in wanted]):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError("\n".join(f"{name}: {self.log(name)[-1500:]}" for name in wanted)) from None

    async def wait_death(self, name: str, *, seconds: float = 30) -> Death:
        """The next end of a process that this case did not bring about; of one that is down, its first. Raises TimeoutError."""
        seen = len(self.deaths)
        if not self.nodes[name].is_running:
            seen = 0
        async with asyncio.timeout(seconds):
            while True:
                for death in self.deaths[seen:]:
                    if death.name == name and not death.was_killed:
                        return death
                await asyncio.sleep(LOOK_SECONDS)

    def notices_frozen(self, name: str) -> bool:
        """Whether a failpoint with `!STOP` has frozen it by now."""
        node = self.nodes[name]
        node.is_frozen = psutil.Process(self.pid(name)).status() == psutil.STATUS_STOPPED
        return node.is_frozen

    def log(self, name: str) -> str:
        """All that it has logged."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    async def metrics(self, name: str) -> str:
        """What a service exports."""
        node = self.nodes[name]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            async with session.get(f"http://{LOOPBACK}:{node.operations_port}/metrics") as answer:
                return await answer.text()

    @asynccontextmanager
    async def redis(self, name: str) -> AsyncIterator[Redis]:
        """An administrator's client of `events` or `broker`, past any wire."""
        password = self.state.secrets.events_password if name == "events" else self.state.secrets.broker_password
        client = connect_redis(valkey.redis_url(port=getattr(self.state.ports, name), password=password))
        try:
            yield client
        finally:
            await client.aclose()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the schema's owner, past any wire."""
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=30)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    async def supervise(self) -> None:
        """Note what ended, and start again what shall run. Until cancelled."""
        while True:
            for node in list(self.nodes.values()):
                if node.process is not None and node.process.poll() is not None:
                    self._note_death(node)
                if node.process is None and node.is_wanted and time.monotonic() >= node.restart_at:
                    self._spawn(node)
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """End every process, by its id: what is not durable at once, servers in order."""
        for node in reversed(self.nodes.values()):
            node.is_wanted = False
            if node.is_running:
                assert node.process is not None
                with suppress(ProcessLookupError):
                    if node.is_frozen:
                        node.process.send_signal(signal.SIGCONT)
                    node.process.send_signal(signal.SIGQUIT if node.role == "postgres" else signal.SIGKILL)
        for node in self.nodes.values():
            if node.process is not None:
                try:
                    await asyncio.to_thread(node.process.wait, STOP_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    node.process.kill()
                    node.process.wait(STOP_TIMEOUT_SECONDS)
        await self._closing.aclose()

    def _spawn(self, node: Node) -> None:
        changes = {**node.always, **node.once}
        node.once = {}
        command, environment = node.command, {**node.environment, **changes}
        if {FAILPOINT, MUTANT} & changes.keys():
            command = with_parent((sys.executable, "-m", "harness.faulty", node.role))
            environment["PYTHONPATH"] = str(HARNESS_FOLDER)
        (self.folder / "logs").mkdir(exist_ok=True)
        with (self.folder / "logs" / f"{node.name}.log").open("ab") as log:
            node.process = subprocess.Popen(
                command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        node.killed = False

    def _note_death(self, node: Node) -> None:
        assert node.process is not None and node.process.returncode is not None
        self.deaths.append(
            Death(name=node.name, code=node.process.returncode, at=time.time(), was_killed=node.killed)
        )
        node.process, node.is_frozen = None, False
        node.restart_at = time.monotonic() + RESTART_SECONDS

    async def _is_ready(self, node: Node, session: aiohttp.ClientSession) -> bool:
        if not node.is_running:
            return False
        ports, secrets = self.state.ports, self.state.secrets
        if node.role == "postgres":
            return await asyncio.to_thread(postgres.accepts_connections, ports.postgres)
        if node.role in ("events", "broker"):
            password = secrets.events_password if node.role == "events" else secrets.broker_password
            port = ports.events if node.role == "events" else ports.broker
            return await asyncio.to_thread(valkey.accepts_commands, port=port, password=password)
        try:
            url = f"http://{LOOPBACK}:{node.operations_port}/readyz"
            async with session.get(url, timeout=aiohttp.ClientTimeout(5)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


OpenCluster = Callable[..., AbstractAsyncContextManager[Cluster]]
"""What the fixture `open_case` is: it takes settings by name."""


@asynccontextmanager
async def open_cluster(
    folder: Path, *, mould: Mould, origin: FaultOrigin, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """A cluster that is defined and not started; everything is ended when the context is left."""
    (folder / "data").mkdir(parents=True)
    state = StackState(
        ports=choose_ports(None, gateway=free_port()), secrets=mould.secrets, control_socket=folder / "unused.sock"
    )
    for name, password, is_durable in (
        ("events", mould.secrets.events_password, True),
        ("broker", mould.secrets.broker_password, False),
    ):
        port = getattr(state.ports, name)
        valkey.write_configuration(folder / "data" / name, port=port, password=password, is_durable=is_durable)
    await asyncio.to_thread(mould.copy_to, folder / "data" / "postgres")
    cluster = Cluster(folder, state=state, origin=origin, environment=environment or {})
    cluster.define()
    supervising = asyncio.create_task(cluster.supervise(), name="supervise")
    try:
        yield cluster
        if supervising.done():
            supervising.result()
    finally:
        supervising.cancel()
        await cluster.close()
