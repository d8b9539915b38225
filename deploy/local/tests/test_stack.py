"""The whole stack, with stand-ins for the services: what `up` promises, and what is left when it ends, however it ends."""

import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from fetchwork_local.errors import AlreadyRunning, Interrupted, NotReady, StackError
from fetchwork_local.ports import LOOPBACK, is_free
from fetchwork_local.stack import Stack
from fetchwork_local.state import StackState, recall
from fetchwork_local.waiting import wait_until

MakeStack = Callable[..., Stack]
ProcessesOf = Callable[[Path], list[psutil.Process]]
STAND_IN = Path(__file__).with_name("stand_in_service.py")
SERVICES = ("gateway", "fetcher", "store")


def state_of(stack: Stack) -> StackState:
    """The remembered state, which is there once the stack was started."""
    state = recall(stack.home)
    assert state is not None
    return state


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for tests that only look at it."""
    environment = {"FETCHWORK_LOG_LEVEL": "debug", "SECRET_OF_THE_CALLER": "x", "HTTPS_PROXY": "http://proxy.example:3128"}
    services = {name: (sys.executable, str(STAND_IN), name) for name in ("store", "fetcher", "gateway")}
    with Stack(tmp_path_factory.mktemp("running") / "home", environment=environment, services=services) as stack:
        yield stack


def test_status_has_the_promised_shape(running: Stack) -> None:
    status = running.status().to_json()
    ports = state_of(running).ports
    assert status == json.loads(json.dumps(status))
    assert set(status) == {"ready", "gateway", "api_key", "metrics", "processes", "demo", "home"}
    assert status["ready"] is True
    assert status["gateway"] == f"http://127.0.0.1:{ports.gateway}"
    assert status["api_key"] == state_of(running).secrets.api_key
    assert status["metrics"] == {
        "gateway": f"http://127.0.0.1:{ports.gateway_metrics}/metrics",
        "fetcher": f"http://127.0.0.1:{ports.fetcher_metrics}/metrics",
        "store": f"http://127.0.0.1:{ports.store_metrics}/metrics",
    }
    assert list(status["processes"]) == [*SERVICES, "postgres", "events", "broker"]
    assert httpx2.get(status["demo"]).status_code == 200


def test_process_ids_are_those_of_the_programs_themselves(running: Stack) -> None:
    processes = {name: psutil.Process(pid) for name, pid in running.status().processes.items()}
    for name in SERVICES:
        assert processes[name].cmdline()[1:] == [str(STAND_IN), name]
    assert Path(processes["postgres"].exe()).name == "postgres"
    assert {Path(processes[name].exe()).name for name in ("events", "broker")} == {"valkey-server"}


def test_programs_get_exactly_what_is_theirs(running: Stack) -> None:
    environments = {name: psutil.Process(pid).environ() for name, pid in running.status().processes.items()}
    assert {name for name, known in environments.items() if "FETCHWORK_DATABASE_URL" in known} == {"store"}
    assert {name for name, known in environments.items() if "FETCHWORK_BROKER_URL" in known} == {"store", "fetcher"}
    assert all(environments[name]["FETCHWORK_LOG_LEVEL"] == "debug" for name in SERVICES)
    for known in environments.values():
        assert not {"SECRET_OF_THE_CALLER", "HTTPS_PROXY", "SUPERVISOR_SERVER_URL"} & set(known)


def test_secrets_are_in_private_files_and_on_no_command_line(running: Stack, processes_of: ProcessesOf) -> None:
    secrets = list(state_of(running).secrets.model_dump().values())
    lines = [" ".join(process.cmdline()) for process in processes_of(running.home.folder)]
    assert len(lines) > 8
    assert not [line for line in lines if any(secret in line for secret in secrets)]
    for path in running.home.folder.rglob("*"):
        if path.is_file() and "postgres" not in path.parts and path.name != ".gitignore":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_stop_leaves_no_process_and_no_port(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack()
    stack.start()
    assert stack.stop() is True
    assert processes_of(stack.home.folder) == []
    ports = state_of(stack).ports.model_dump(exclude={"demo"}).values()
    assert all(is_free(LOOPBACK, port) for port in ports)
    assert stack.status().to_json() == {
        **{"ready": False, "home": str(stack.home.folder), "gateway": None, "api_key": None, "demo": None},
        **{"metrics": {}, "processes": {}},
    }
    assert stack.stop() is False


def test_services_stop_before_what_they_stand_on(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.start()
    stack.stop()
    lines = (stack.home.logs / "supervisord.log").read_text().splitlines()
    stopped = [line.split("stopped: ")[1].split(" ")[0] for line in lines if "stopped: " in line]
    assert stopped == ["gateway", "fetcher", "store", "demo", "postgres", "broker", "events"]


def test_second_run_keeps_address_key_and_data(make_stack: MakeStack) -> None:
    stack = make_stack()
    first = stack.start()
    stack.stop()
    second = stack.start()
    assert (second.gateway, second.api_key, second.metrics) == (first.gateway, first.api_key, first.metrics)


@pytest.mark.parametrize("name", ["gateway", "postgres", "events"])
def test_killed_program_is_back_within_seconds(make_stack: MakeStack, name: str) -> None:
    stack = make_stack()
    before = stack.start().processes[name]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.status().ready and stack.status().processes[name] != before, timeout_seconds=10)


def test_second_up_on_a_running_home_is_refused(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.start()
    with pytest.raises(AlreadyRunning, match="fetchwork down"):
        make_stack().start()
    assert stack.status().ready


def test_stacks_run_side_by_side(make_stack: MakeStack, tmp_path: Path) -> None:
    one, other = make_stack(tmp_path / "one").start(), make_stack(tmp_path / "other").start()
    assert one.ready and other.ready
    assert one.gateway != other.gateway
    assert one.api_key != other.api_key


def test_another_object_can_stop_it(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack()
    stack.start()
    assert make_stack().stop() is True
    assert processes_of(stack.home.folder) == []


def test_deep_home_works(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(tmp_path / ("x" * 100) / "a home; with % and #1")
    assert stack.start().ready
    socket_folder = state_of(stack).control_socket.parent
    stack.stop()
    assert not socket_folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that Postgres as another user cannot enter")
def test_home_below_a_folder_that_only_root_may_enter(make_stack: MakeStack, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert make_stack(closed / "home").start().ready
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_nothing_outlives_a_killed_supervisord(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack()
    stack.start()
    (supervisord,) = [process for process in processes_of(stack.home.folder) if "supervisor.supervisord" in process.cmdline()]
    supervisord.kill()
    wait_until(lambda: not processes_of(stack.home.folder), timeout_seconds=20)
    assert stack.status().ready is False
    assert stack.start().ready


def test_stack_is_stopped_although_its_socket_is_gone(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack()
    stack.start()
    state_of(stack).control_socket.unlink()
    assert stack.stop() is True
    assert processes_of(stack.home.folder) == []


def test_process_id_that_now_belongs_to_someone_else_is_not_signalled(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.home.create()
    (stack.home.run / "supervisord.pid").write_text(f"{os.getpid()}\n")
    assert stack.stop() is False
    assert stack.status().ready is False


def test_service_that_refuses_to_start_is_named_with_its_log(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack(fault="store:exit")
    with pytest.raises(NotReady, match=r"(?s)store does not stay up: \d+ starts.*Cannot start; fix these settings"):
        stack.start(timeout_seconds=4)
    assert processes_of(stack.home.folder) == []


def test_service_that_is_never_ready_is_named_with_its_reason(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack(fault="gateway:unready")
    with pytest.raises(NotReady, match=r"not within 3 s(?s:.*)gateway is not ready: \[-\]stand_in failed: told to"):
        stack.start(timeout_seconds=3)
    assert processes_of(stack.home.folder) == []


def test_interruption_stops_what_was_started(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack(fault="gateway:unready")
    with pytest.raises(Interrupted):
        stack.start(interrupted=lambda: (stack.home.logs / "gateway.log").exists())
    assert processes_of(stack.home.folder) == []


def test_hurry_kills_a_service_that_takes_its_time(make_stack: MakeStack, processes_of: ProcessesOf) -> None:
    stack = make_stack(fault="fetcher:stubborn")
    stack.start()
    assert stack.stop(hurry=lambda: True) is True
    assert processes_of(stack.home.folder) == []


def test_program_that_is_missing_is_named(make_stack: MakeStack, tmp_path: Path, processes_of: ProcessesOf) -> None:
    stack = make_stack(store=(str(tmp_path / "missing"),))
    with pytest.raises(NotReady, match="store does not stay up"):
        stack.start(timeout_seconds=4)
    assert processes_of(stack.home.folder) == []


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_port_that_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(StackError, match="FETCHWORK_PORT"):
        Stack(environment={"FETCHWORK_PORT": port})
