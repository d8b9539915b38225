"""A real headless Chromium, driven over its DevTools protocol: what a page shows, asks for and complains of."""

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--window-size=1280,900",
)  # fmt: skip
"""Root may not use the sandbox; the rest keeps the browser from calling home."""
START_SECONDS, ANSWER_SECONDS, SHOW_SECONDS = 30, 20, 30


@dataclass
class Page:
    """One tab. `requests` are the addresses that it asked for, `complaints` what its console and its policies said."""

    socket: aiohttp.ClientWebSocketResponse
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, "asyncio.Future[dict[str, Any]]"] = field(default_factory=dict)

    async def listen(self) -> None:
        """Take note of everything the browser tells, until it closes."""
        async for message in self.socket:
            told = json.loads(message.data)
            match told.get("method"):
                case None:
                    self._answers.pop(told["id"]).set_result(told)
                case "Network.requestWillBeSent":
                    self.requests.append(told["params"]["request"]["url"])
                case "Log.entryAdded":
                    self.complaints.append(told["params"]["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, ANSWER_SECONDS)
        assert "error" not in told, told
        return dict(told["result"])

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression, evaluated from outside the page's policy."""
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def open(self, address: str, *, until: str) -> None:
        """Show a page, and wait until an expression of it is true."""
        for domain in ("Network", "Log", "Runtime", "Page"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=address)
        await self.wait_for(until)

    async def wait_for(self, expression: str) -> None:
        """Wait until an expression of the page is true."""
        async with asyncio.timeout(SHOW_SECONDS):
            while not await self.value(expression):
                await asyncio.sleep(0.1)

    async def picture(self, file: Path) -> None:
        """Write a picture of the page."""
        file.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"]))


@asynccontextmanager
async def open_page(folder: Path) -> AsyncIterator[Page]:
    """A tab of a browser of its own, whose data are in the folder; both are gone afterwards."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        port = await _port(folder / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tab = next(tab for tab in await answer.json() if tab["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                yield page
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
    finally:
        process.kill()
        await process.wait()


async def _port(file: Path) -> int:
    """The port that the browser chose and wrote down."""
    async with asyncio.timeout(START_SECONDS):
        while not file.exists() or not file.read_text():
            await asyncio.sleep(0.05)
    return int(file.read_text().splitlines()[0])
