"""A migrated database for each test."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest
from store.database import Pool, open_pool
from store.migrate import migrate

_numbers = count()


def _sibling(url: str, name: str) -> str:
    return url.rsplit("/", 1)[0] + "/" + name


async def _create(url: str, name: str, template: str) -> str:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    return _sibling(url, name)


@pytest.fixture(scope="session")
def template_url(postgres_url: str) -> str:
    """A migrated database that tests copy."""
    url = asyncio.run(_create(postgres_url, "migrated", "template0"))
    asyncio.run(migrate(url))
    return url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> str:
    """A database without any table."""
    return await _create(postgres_url, f"empty_{next(_numbers)}", "template0")


@pytest.fixture
async def database_url(template_url: str, postgres_url: str) -> str:
    """A migrated database of this test's own."""
    return await _create(postgres_url, f"test_{next(_numbers)}", "migrated")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool over this test's own database, with the store's own settings."""
    async with open_pool(database_url, size=8) as opened:
        yield opened
