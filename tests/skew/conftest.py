"""One service's previous image among the new ones of the others, each in turn, on the stack that all container tests share.

The database is always migrated by the new image, and so is what an earlier store must run on.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from compose_project import OURS, Compose
from container_system import ContainerSystem
from driver import Document, Driver, open_driver
from origin import Origin
from pairing import NOBODY, Pairing
from previous import PREVIOUS, build_image, find_previous, remove_image
from system import System

CARRIED = 20
CARRIED_TIMEOUT_SECONDS = 5.0


@pytest.fixture(scope="session")
def previous_commits(repository: Path) -> dict[str, str]:
    """The previous release's commit by service; skips, and says so, when there was none."""
    commits = find_previous(repository, OURS, os.environ)
    if not commits:
        pytest.skip(f"SKIPPED SKEW TESTS: no previous release: no tag deployed/<service>, and {PREVIOUS} names no commit")
    return commits


@pytest.fixture(scope="session")
def running(previous_commits: dict[str, str], running: Compose) -> Compose:
    """The shared stack, which is not even started when there is nothing to pair it with."""
    return running


@pytest.fixture(scope="session")
def previous_images(previous_commits: dict[str, str], running: Compose, repository: Path) -> Iterator[dict[str, str]]:
    """The previous release's image by service."""
    images: dict[str, str] = {}
    try:
        for service, commit in previous_commits.items():
            images[service] = build_image(repository, service, commit)
        yield images
    finally:
        for image in images.values():
            remove_image(image)


@pytest.fixture(scope="session")
def system(running: Compose) -> System:
    """The stack in containers."""
    return ContainerSystem.of(running)


@pytest.fixture(scope="session")
async def origin(system: System) -> AsyncIterator[Origin]:
    """The website from hell."""
    async with system.origin() as served:
        yield served


@pytest.fixture(scope="session")
async def driver(system: System) -> AsyncIterator[Driver]:
    """A client of the system."""
    async with open_driver(system) as opened:
        yield opened


@pytest.fixture(scope="session")
def kept() -> dict[str, Document]:
    """Every fetch that succeeded so far, by the URL it was fetched from, whoever was of the previous release then."""
    return {}


@pytest.fixture(scope="module", params=[*OURS, NOBODY])
async def pairing(
    request: pytest.FixtureRequest, previous_images: dict[str, str], running: Compose, driver: Driver, origin: Origin
) -> AsyncIterator[Pairing]:
    """The stack with that service replaced by its previous release while it works; the new one comes back afterwards."""
    earlier: str = request.param
    if earlier == NOBODY:
        yield Pairing(earlier=earlier)
        return
    if earlier not in previous_images:
        pytest.skip(f"SKIPPED SKEW TESTS: no previous release of {earlier}")
    urls = [f"{origin.url}/slow/1?{earlier}-{number}" for number in range(CARRIED)]
    carried = await driver.submit_all(urls, timeout_seconds=CARRIED_TIMEOUT_SECONDS)
    try:
        await _replace(running, earlier, previous_images[earlier])
        yield Pairing(earlier=earlier, carried=carried)
    finally:
        await _replace(running, earlier, None)


async def _replace(running: Compose, service: str, image: str | None) -> None:
    """Run a service from another image, or from its own again."""
    images = {f"FETCHWORK_{service.upper()}_IMAGE": image} if image else {}
    await asyncio.to_thread(running.start, "--no-deps", "--no-build", service, **images)
    wanted = image or running.image(service)
    assert {container["Config"]["Image"] for container in running.inspect(service)} == {wanted}
