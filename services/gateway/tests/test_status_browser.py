"""The status page in a real browser: by form and without scripts, live with them, on every screen, for everybody."""

import asyncio
import hashlib
import os
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import CHROMIUM, Page, open_page
from common.clock import utc_now
from common.contracts.fetches import ErrorType
from gateway_words import KEY
from status_words import busy_host, busy_overview, failure, sample

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page is not tried in a browser")

VENDOR = Path(__file__).parent / "vendor"
SHOWN = "document.readyState == 'complete' && document.querySelector('h1') != null"
SIGNED_IN = "document.querySelector('#status[data-live]') != null && document.readyState == 'complete'"
PICTURE_LIMIT = 2000
WIDTHS = (360, 1440)
SCHEMES = ("light", "dark")
AXE = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations
    .filter(each => ["serious", "critical"].includes(each.impact))
    .map(each => [each.id, each.nodes.map(node => [node.target, node.any.map(check => check.message)])]))"""
PAINT = "requestAnimationFrame(() => requestAnimationFrame(() => { window.isPainted = true; })); 0"
SHIFTS = """new PerformanceObserver(list => { for (const entry of list.getEntries()) window.shifted += entry.value; })
    .observe({type: "layout-shift", buffered: false}); window.shifted = 0; window.isFirst = true"""
SECOND_TILE = "document.querySelectorAll('.tile b')[2].textContent"


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A tab of a browser."""
    async with open_page(tmp_path / "browser") as opened:
        yield opened


async def sign_in(page: Page, url: str) -> None:
    """By the form, as people do."""
    await page.open(f"{url}/", until=SHOWN)
    await page.value("document.getElementById('key').focus()")
    await page.call("Input.insertText", text=KEY)
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    await page.wait_for(SIGNED_IN)


async def wear(page: Page, width: int, scheme: str) -> None:
    """A screen of that width, with that colour scheme."""
    await page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
    )
    await page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


async def axe_issues(page: Page) -> Any:
    """What axe calls serious or critical."""
    await page.value((VENDOR / "axe.min.js").read_text(encoding="utf-8") + "; 1")
    answer = await page.call("Runtime.evaluate", expression=AXE, awaitPromise=True, returnByValue=True)
    return answer["result"]["value"]


async def take_picture(page: Page, name: str) -> None:
    """Of the whole page, into docs/pictures, where a make verb asks for it."""
    if folder := os.environ.get("FETCHWORK_STATUS_PICTURES"):
        height = min(await page.value("document.documentElement.scrollHeight"), PICTURE_LIMIT)
        width = await page.value("innerWidth")
        await page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        await page.picture(Path(folder) / name)


def assert_nothing_left(page: Page, url: str) -> None:
    """The page asked its own origin alone, and no policy and no script complained."""
    asked = {urlsplit(address).netloc for address in page.requests if urlsplit(address).scheme in ("http", "https")}
    assert asked == {urlsplit(url).netloc}
    assert page.complaints == []


def test_vendored_files_are_as_they_were_released() -> None:
    noted = tomllib.loads((VENDOR / "VENDOR.toml").read_text(encoding="utf-8"))["package"]
    hashes = {entry["file"]: entry["sha256"] for package in noted for entry in package["file"]}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.name != "VENDOR.toml"}
    assert found == hashes


async def test_without_scripts_people_sign_in_see_all_and_sign_out(gateway: Any, page: Page) -> None:
    gateway.store.overview = busy_overview()
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    await sign_in(page, gateway.url)
    assert await page.value("document.querySelector('h1').textContent") == "Working"
    assert await page.value("document.querySelectorAll('rect.succeeded').length") > 50
    assert "Reload" in await page.value("document.getElementById('live').textContent")
    assert await page.value("document.getElementById('live-switch').offsetParent") is None, "what needs scripts is not shown"
    assert await page.value("document.cookie") == "", "no script could read it"
    await page.value("document.querySelector('form[action=\"/session/end\"] button').click()")
    await page.wait_for(f"{SHOWN} && document.getElementById('key') != null")
    assert_nothing_left(page, gateway.url)


async def test_with_scripts_the_numbers_follow_and_nothing_else_moves(gateway: Any, page: Page) -> None:
    gateway.store.overview = busy_overview()
    await sign_in(page, gateway.url)
    await page.wait_for("document.getElementById('live').textContent == 'Live'")
    await page.value("document.querySelector('summary').click()")
    await asyncio.wait_for(page.value("document.querySelector('.hosts a').focus(); window.scrollTo(0, 300)"), 5)
    await page.wait_for("scrollY > 200")
    scrolled = await page.value("scrollY")
    await page.value(PAINT)  # else what the opened table moved may count as ours
    await page.wait_for("window.isPainted")
    await page.value(SHIFTS)
    assert await page.value(SECOND_TILE) == "1,284"
    now = gateway.store.overview.now
    gateway.store.overview = busy_overview(now=now.model_copy(update={"queued": 99, "failed": now.failed + 1}))
    await page.wait_for(f"{SECOND_TILE} == '99'")
    assert await page.value("window.isFirst") is True, "it was not loaded anew"
    assert await page.value("document.activeElement.textContent") == "news.example"
    assert await page.value("scrollY") == scrolled and await page.value("document.querySelector('details').open") is True
    assert await page.value("window.shifted") < 0.01
    assert_nothing_left(page, gateway.url)


async def test_it_pauses_when_told_to_tries_again_and_notices_a_sign_out(gateway: Any, page: Page) -> None:
    gateway.store.overview = busy_overview()
    await sign_in(page, gateway.url)
    await page.wait_for("document.getElementById('live').textContent == 'Live'")
    await page.value("document.getElementById('live-switch').click()")
    assert await page.value("document.getElementById('live').textContent") == "Paused"
    before = len(page.requests)
    await asyncio.sleep(4)  # longer than it rests
    assert len(page.requests) == before
    await page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    await page.value("document.getElementById('live-switch').click()")
    await page.wait_for("document.getElementById('live').textContent == 'No answer, trying again'")
    await page.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    await page.wait_for("document.getElementById('live').textContent == 'Live'")
    await page.call("Network.clearBrowserCookies")
    await page.wait_for("document.getElementById('key') != null")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
async def test_everybody_can_use_it_on_every_screen(gateway: Any, page: Page, width: int, scheme: str) -> None:
    """No sideways scrolling and nothing serious that axe finds: signed out, with traffic, in trouble, and fresh."""
    gateway.store.overview = busy_overview()
    await page.call("Page.enable")
    await wear(page, width, scheme)
    await page.open(f"{gateway.url}/", until=SHOWN)
    await _look(page)
    await sign_in(page, gateway.url)
    await _look(page)
    await take_picture(page, f"status-{width}-{scheme}.png")
    await wear(page, width, scheme)
    await page.value("document.querySelector('summary').click()")
    await _look(page)
    gateway.store.overview = busy_overview(workers=0, worker_slots=0)
    await page.open(f"{gateway.url}/", until=SIGNED_IN)
    await _look(page)
    gateway.store.overview = None
    await page.open(f"{gateway.url}/", until=SIGNED_IN)
    await _look(page)
    assert_nothing_left(page, gateway.url)


async def _look(page: Page) -> None:
    assert await page.value("document.documentElement.scrollWidth <= innerWidth")
    assert await axe_issues(page) == []


async def test_everything_can_be_reached_with_the_keyboard(gateway: Any, page: Page) -> None:
    gateway.store.overview = busy_overview()
    await sign_in(page, gateway.url)
    seen = []
    await page.value("document.body.tabIndex = -1; document.body.focus()")
    while "Skip to the status" not in seen[1:]:
        assert len(seen) < 40
        for kind in ("keyDown", "keyUp"):
            await page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        if await page.value("document.activeElement == document.body"):
            break
        seen.append(await page.value("document.activeElement.textContent.trim()"))
        assert await page.value("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
    assert seen[0] == "Skip to the status"
    assert {"Pause", "Sign out", "The same as a table", "news.example"} <= set(seen)


async def test_hostile_texts_stay_texts(gateway: Any, page: Page) -> None:
    hostile = "<img src=x onerror=\"window.isHit = 1\"><script>window.isHit = 1</script>'\""
    calm = busy_overview()
    gateway.store.overview = busy_overview(
        hosts=[busy_host(hostile, 3)], failures=[failure(hostile, ErrorType.DNS, at=utc_now(), detail=hostile)]
    )
    await sign_in(page, gateway.url)
    assert await page.value("document.querySelector('.hosts a').textContent") == hostile
    assert await page.value("document.querySelector('.failures b').title") == hostile
    gateway.store.overview = calm
    await page.wait_for("document.querySelector('.hosts a').textContent == 'news.example'")
    worse = busy_overview(hosts=[busy_host(hostile, 3)], now=sample(utc_now(), accepted=1))
    gateway.store.overview = worse
    await page.wait_for("document.querySelector('.hosts a').textContent != 'news.example'")
    assert await page.value("document.querySelector('main img, main script')") is None
    assert await page.value("window.isHit === undefined") is True
    assert_nothing_left(page, gateway.url)
