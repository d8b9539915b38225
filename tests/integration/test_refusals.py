"""What must never be dialled is not dialled: listeners on refused addresses see no connection.

These addresses are the fetcher's own, of its machine or of its container, so that even a broken guard sends nothing to anybody
else. Other ranges are judged in services/fetcher/tests with a stub resolver and a stub dialer.
"""

from collections.abc import AsyncIterator

import pytest
from canaries import Canaries
from driver import Driver
from origin import Origin
from system import System


@pytest.fixture(scope="module")
async def canaries(system: System) -> AsyncIterator[Canaries]:
    """Listeners that nobody may reach."""
    async with system.canaries() as served:
        yield served


async def test_refused_addresses_fail_and_are_never_dialled(driver: Driver, origin: Origin, canaries: Canaries) -> None:
    urls = [*canaries.urls, *(f"{origin.url}/redirect?to={url}" for url in canaries.urls)]
    visits = await canaries.visit_each()
    documents = await driver.finish_all(await driver.submit_all(urls))
    for url, document in zip(urls, documents, strict=True):
        assert document["status"] == "failed" and document["error"]["type"] == "refused_address", url
        assert len(document["attempts"]) == 1, "a refusal is final"
        assert not any(host.strip("[]") in document["error"]["detail"] for host in canaries.hosts if host != "localhost")
    assert await canaries.visit_each() == [visit + 1 for visit in visits], "nobody came between our own visits"
    assert await driver.metric("fetcher", "fetchwork_egress_refused_total") > 0


async def test_the_canaries_can_sing(canaries: Canaries) -> None:
    """The negative control: whoever does connect is seen, by every URL that was refused."""
    for url in canaries.urls:
        visits = await canaries.visit_each()
        assert all(visit > 0 for visit in await canaries.visit(url)), url
        assert sum(await canaries.visit_each()) == sum(visits) + 2 * len(canaries.places), url
