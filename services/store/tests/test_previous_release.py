"""The previous release's store on today's schema: its own tests of the ledger's doors pass over our migrations.

While a release rolls out, the database is migrated first and earlier stores work on it for a while.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import store.sql.migrations
from previous import export_commit

PREVIOUS_COMMIT = "3a9f0a08beb096c5b6ce51df356f500e597eceb5"
"""The last store before tenants, batches and keys."""
OF_THE_DOORS = ("test_doors.py", "test_claim.py")
PACKAGES = ("libs/common", "deploy/local", "services/store")
ADDED = "0005_tenants_batches_keys.sql"
TIMEOUT_SECONDS = 120

EVIDENCE = '''

import asyncpg


async def test_the_schema_is_the_new_one(database_url: str) -> None:
    import store

    assert store.__file__.startswith({tree!r}), store.__file__
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT to_regclass('api_keys') IS NOT NULL")
    await connection.close()
'''


@pytest.fixture
def previous_tree(repository: Path, tmp_path: Path) -> Path:
    """The files of that commit, with the migrations of today."""
    question = ["git", "cat-file", "-e", f"{PREVIOUS_COMMIT}^{{commit}}"]
    if subprocess.run(question, cwd=repository, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip(f"{PREVIOUS_COMMIT[:7]} is not in this clone")
    tree = export_commit(repository, PREVIOUS_COMMIT, tmp_path)
    migrations = tree / "services/store/store/sql/migrations"
    for migration in Path(store.sql.migrations.__file__).parent.glob("*.sql"):
        shutil.copy(migration, migrations)
    assert (migrations / ADDED).exists()
    return tree


def test_the_store_of_the_release_before_works_on_todays_schema(previous_tree: Path) -> None:
    tests = previous_tree / "services/store/tests"
    (tests / "test_schema.py").write_text('"""Which schema this is."""\n' + EVIDENCE.format(tree=str(previous_tree)))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(previous_tree / package) for package in PACKAGES),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(previous_tree)]
    command += [str(tests / name) for name in (*OF_THE_DOORS, "test_schema.py")]
    answer = subprocess.run(
        command, cwd=previous_tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-2000:]
