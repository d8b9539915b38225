"""An origin that logs every hit before it answers: `python -m harness.origin LOG ADDRESS PORT…`. A process that no case kills.

Each answer has a body of its own, so that a stored body tells which hit it came from.
"""

import asyncio
import hashlib
import os
import secrets
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

PADDING = b"0123456789abcdef" * 32
HELD_LOOKS, HELD_LOOK_SECONDS = 3000, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One request that arrived: the token of its URL, the SHA-256 of the body that it was answered with, when (time.time)."""

    token: str
    digest: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOrigin:
    """Where it listens and what it logged."""

    log: Path
    address: str
    ports: Sequence[int]

    def url(self, token: str, *, seconds: float = 0.0) -> str:
        """The URL of a token; the same host each time for the same token. It answers after `seconds`.

        A query of `bytes=` makes its body so much longer, by bytes that nothing compresses.
        """
        port = self.ports[int.from_bytes(hashlib.sha256(token.encode()).digest()[:2], "big") % len(self.ports)]
        return f"http://{self.address}:{port}/f/{token}" + (f"?seconds={seconds:g}" if seconds else "")

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Whatever is asked meanwhile is logged, and not answered before the end, or a minute later."""
        gate = _gate(self.log)
        gate.touch()
        try:
            yield
        finally:
            gate.unlink()

    def hits(self) -> Mapping[str, Sequence[Hit]]:
        """What arrived so far, by token, in order of arrival."""
        found: dict[str, list[Hit]] = defaultdict(list)
        for line in self.log.read_text(encoding="ascii").splitlines():
            token, digest, at = line.split()
            found[token].append(Hit(token=token, digest=digest, at=float(at)))
        return found


def _gate(log: Path) -> Path:
    """The file that says that nothing is answered."""
    return log.with_suffix(".held")


async def serve(log_path: str, address: str, ports: Sequence[int]) -> None:
    """Serve until a signal."""
    gate = _gate(Path(log_path))
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def answer(request: web.Request) -> web.Response:
        token = request.match_info["token"]
        body = b" ".join((token.encode(), secrets.token_hex(16).encode(), PADDING))
        body += secrets.token_bytes(int(request.query.get("bytes", "0")))
        os.write(log, f"{token} {hashlib.sha256(body).hexdigest()} {time.time():.6f}\n".encode())
        if seconds := float(request.query.get("seconds", "0")):
            await asyncio.sleep(min(seconds, 60.0))
        for _ in range(HELD_LOOKS):
            if not gate.exists():
                break
            await asyncio.sleep(HELD_LOOK_SECONDS)
        return web.Response(body=body, content_type="text/plain")

    app = web.Application()
    app.router.add_route("*", "/f/{token}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    for port in ports:
        await web.TCPSite(runner, address, port).start()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]]))
