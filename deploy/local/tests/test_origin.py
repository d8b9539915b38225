"""The demo origin: it changes, and each of its pages does what its home page says."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from fetchwork_local.origin import create_app
from fetchwork_local.ports import DEMO_ADDRESS, free_port


@pytest.fixture
async def origin() -> AsyncIterator[ClientSession]:
    """A client of a demo origin on its own address."""
    runner = web.AppRunner(create_app())
    await runner.setup()
    port = free_port(DEMO_ADDRESS)
    await web.TCPSite(runner, DEMO_ADDRESS, port).start()
    async with ClientSession(f"http://{DEMO_ADDRESS}:{port}") as session:
        yield session
    await runner.cleanup()


async def read(origin: ClientSession, path: str, *, follow: bool = True) -> tuple[int, bytes]:
    """Status and body of one page."""
    async with origin.get(path, allow_redirects=follow) as answer:
        return answer.status, await answer.read()


async def test_home_page_changes(origin: ClientSession) -> None:
    first, second = await read(origin, "/"), await read(origin, "/")
    assert first[0] == second[0] == 200
    assert b"demo origin" in first[1]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *[("/status/404", 404), ("/status/503", 503), ("/status/999", 404), ("/slow?seconds=0", 200), ("/slow?seconds=x", 400)],
        *[("/bytes/10000001", 404), ("/redirect/3", 200), ("/private", 200), ("/nothing", 404)],
    ],
)
async def test_status(origin: ClientSession, path: str, status: int) -> None:
    assert (await read(origin, path))[0] == status


@pytest.mark.parametrize("size", [0, 1, 257, 10_000_000])
async def test_bytes_are_as_many_as_asked_and_always_the_same(origin: ClientSession, size: int) -> None:
    body = (await read(origin, f"/bytes/{size}"))[1]
    assert len(body) == size
    assert body[:300] == (bytes(range(256)) * 2)[: min(size, 300)]


async def test_redirects_count_down(origin: ClientSession) -> None:
    async with origin.get("/redirect/2", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/redirect/1")
    async with origin.get("/redirect/1", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/")


async def test_robots_forbids_one_page(origin: ClientSession) -> None:
    async with origin.get("/robots.txt") as answer:
        assert (answer.status, answer.content_type) == (200, "text/plain")
        assert answer.headers["Cache-Control"] == "max-age=600"
        lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    assert lines == ["User-agent: *", "Disallow: /private"]
    assert b"/private" in (await read(origin, "/"))[1]
