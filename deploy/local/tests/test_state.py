"""What a home remembers, and who may read it."""

import os
import socket
import stat
from pathlib import Path

import pytest
from fetchwork_local.errors import AlreadyRunning, PortTaken, StackError
from fetchwork_local.home import Home, home_from
from fetchwork_local.ports import DEMO_ADDRESS, LOOPBACK, Ports, free_port, is_free
from fetchwork_local.state import recall, renew


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new home."""
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_second_run_has_the_same_ports_and_secrets(home: Home) -> None:
    first = renew(home, gateway_port=None, api_key=None)
    second = renew(home, gateway_port=None, api_key=None)
    assert (second.ports, second.secrets) == (first.ports, first.secrets)
    assert recall(home) == second


def test_ports_are_distinct_and_free(home: Home) -> None:
    ports = renew(home, gateway_port=None, api_key=None).ports.model_dump()
    assert len(set(ports.values())) == len(ports) == len(Ports.model_fields)
    assert all(is_free(DEMO_ADDRESS if name == "demo" else LOOPBACK, port) for name, port in ports.items())


def test_only_a_port_that_was_taken_is_chosen_anew(home: Home) -> None:
    first = renew(home, gateway_port=None, api_key=None).ports
    with socket.create_server((LOOPBACK, first.store)):
        second = renew(home, gateway_port=None, api_key=None).ports
    assert second.store != first.store
    assert second == first.model_copy(update={"store": second.store})


def test_gateway_port_that_was_asked_for_is_kept(home: Home) -> None:
    asked = free_port()
    assert renew(home, gateway_port=asked, api_key=None).ports.gateway == asked
    assert renew(home, gateway_port=None, api_key=None).ports.gateway == asked


def test_gateway_port_that_is_taken_is_refused(home: Home) -> None:
    asked = free_port()
    with socket.create_server((LOOPBACK, asked)), pytest.raises(PortTaken, match=str(asked)):
        renew(home, gateway_port=asked, api_key=None)


def test_given_api_key_replaces_the_made_one(home: Home) -> None:
    made = renew(home, gateway_port=None, api_key=None).secrets
    given = renew(home, gateway_port=None, api_key="key-of-the-caller").secrets
    assert given == made.model_copy(update={"api_key": "key-of-the-caller"})


def test_secrets_are_private(home: Home) -> None:
    renew(home, gateway_port=None, api_key=None)
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.state.stat().st_mode) == 0o600


def test_damaged_state_is_reported_and_not_replaced(home: Home) -> None:
    home.state.write_text("{")
    with pytest.raises(StackError, match="cannot be read"):
        renew(home, gateway_port=None, api_key=None)
    assert home.state.read_text() == "{"


def test_control_socket_of_a_deep_home_is_elsewhere_and_short(tmp_path: Path) -> None:
    deep = Home(tmp_path / ("x" * 100))
    deep.create()
    state = renew(deep, gateway_port=None, api_key=None)
    folder = state.control_socket.parent
    assert len(str(state.control_socket)) < 90
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    second = renew(deep, gateway_port=None, api_key=None).control_socket.parent
    assert not folder.exists() or folder == second
    second.rmdir()


def test_folder_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(StackError, match="not a Fetchwork home"):
        Home(tmp_path).create()
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_home_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="FETCHWORK_HOME"):
        Home(tmp_path / "file" / "home").create()


def test_home_is_locked_by_one_at_a_time(home: Home) -> None:
    assert not home.is_locked()
    held = home.lock()
    assert home.is_locked()
    with pytest.raises(AlreadyRunning):
        home.lock()
    os.close(held)
    assert not home.is_locked()


def test_default_home_is_in_the_current_folder() -> None:
    assert home_from(None).folder == Path.cwd() / ".fetchwork"
    assert home_from("elsewhere").folder == Path.cwd() / "elsewhere"
