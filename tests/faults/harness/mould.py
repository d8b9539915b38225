"""A Postgres cluster with the schema and the witness in it, made once a session and copied for each case."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from fetchwork_local import postgres
from fetchwork_local.ports import free_port
from fetchwork_local.servers import serving
from fetchwork_local.state import Secrets
from store.migrate import migrate

WITNESS = Path(__file__).with_name("witness.sql")
COPY_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Mould:
    """The folder to copy, and the secrets of every cluster made from it: the database password is inside."""

    folder: Path
    secrets: Secrets

    def copy_to(self, folder: Path) -> None:
        """A Postgres folder of a case's own, with the owner that Postgres needs."""
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.folder), str(folder)], check=True, timeout=COPY_TIMEOUT_SECONDS)


async def make_mould(folder: Path) -> Mould:
    """Make it. Raises StackError when Postgres does not start."""
    secrets, port = Secrets(), free_port()
    postgres.create_cluster(folder, password=secrets.postgres_password)
    url = postgres.database_url(port=port, password=secrets.postgres_password)
    with serving(
        postgres.postgres_command(folder, port=port),
        log=folder.with_suffix(".log"),
        is_up=lambda: postgres.accepts_connections(port),
        stop_signal=postgres.STOP_SIGNAL,
    ):
        await migrate(url)
        connection = await asyncpg.connect(url)
        await connection.execute(WITNESS.read_text(encoding="utf-8"))
        await connection.close()
    return Mould(folder=folder, secrets=secrets)
