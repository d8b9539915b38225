"""A listener that nobody may connect to, as a program: python canary.py PORT ADDRESS...

Prints its port, answers each visitor with the number of the visit, and ends when its input does. Imports nothing of ours: it
runs wherever a Python is, as text behind `python -c`.
"""

import asyncio
import sys
from itertools import count

VISITS = count(1)


async def _answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Count, and give the guard away by answering."""
    body = b"%d" % next(VISITS)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    writer.close()


async def _listen(port: int, addresses: list[str]) -> None:
    servers = [await asyncio.start_server(_answer, addresses[0], port)]
    port = servers[0].sockets[0].getsockname()[1]
    servers += [await asyncio.start_server(_answer, address, port) for address in addresses[1:]]
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(_listen(int(sys.argv[1]), sys.argv[2:]))
