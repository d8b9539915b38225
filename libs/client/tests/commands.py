"""The command line as a script meets it: run one command in a folder of its own and see how it ended."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

FETCHWORK = Path(sys.executable).with_name("fetchwork")
END_LIMIT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Commands:
    """Runs `fetchwork` in a folder of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FETCHWORK_")}
        self._environment = {**inherited, "NO_COLOR": "1", "COLUMNS": "200", **environment}

    async def start(
        self, *arguments: str, stderr: int = asyncio.subprocess.PIPE, **environment: str
    ) -> asyncio.subprocess.Process:
        """Begin one command."""
        pipe = asyncio.subprocess.PIPE
        environment = {**self._environment, **environment}
        return await asyncio.create_subprocess_exec(
            FETCHWORK, *arguments, cwd=self._folder, env=environment, stdin=pipe, stdout=pipe, stderr=stderr
        )

    async def run(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Ended:
        """Run one command to its end."""
        return await end(await self.start(*arguments, **environment), stdin=stdin)


async def end(process: asyncio.subprocess.Process, *, stdin: bytes = b"") -> Ended:
    """Wait for a command, not for ever."""
    async with asyncio.timeout(END_LIMIT_SECONDS):
        out, err = await process.communicate(stdin)
    return Ended(code=process.returncode or 0, out=out.decode(), err=err.decode())
