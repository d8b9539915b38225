"""What the guard costs: attempts over a bare aiohttp session, the same session guarded, and our client, in one run.

All make whole attempts as a worker does (`Tasks`: from a batch's text through exchange, body, facts, digest and compression to
the event's text; only Redis, logs and robots.txt are left out), from the same origin, a process of its own on loopback, for one
new URL after another; once over kept connections and once with a connection for each exchange.
They take turns in short slices of attempts, in an order drawn anew each round. What counts is this process's CPU, and each slice
is held against the bare one of its own round: the ratio is the median of all rounds, so that other work on the machine weighs on
both alike. A ratio of 0.9 says that a worker whose CPU is the limit makes 0.9 times the attempts.

"Bare" is a session as aiohttp makes it. "Guarded" adds all judgements of the guard: URL, name, addresses, dial, peer. "Client"
is what runs in production, and does more than guard: it meters bytes, keeps time budgets, follows redirects by hand and writes
the evidence. All get the answer of a lookup from memory and none caches it, so that a fresh connection has no more work beside
the guard than it must. `--system-lookup` has each look names up as it would: aiohttp by the event loop, we in threads of our own,
so that names that hang cannot starve others. That is no judgement, and what it costs depends much on what else runs.

Arguments: `--rounds N`, `--size BYTES`, `--only kept|fresh`, `--system-lookup`, `--limit RATIO` (exit 1 when guarded/bare of any
is below it).
"""

import argparse
import asyncio
import gc
import multiprocessing
import random
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from itertools import count
from typing import Any
from uuid import UUID

import aiohttp
import uvloop
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from common.chassis.logging import configure_logging
from common.clock import utc_now
from common.contracts.catalog import FETCH_PERFORM
from common.contracts.envelope import Envelope
from common.contracts.fetches import FetchRequest, PerformFetch, PerformFetches, ResponseHead
from common.egress.addresses import judge_before_lookup, read_address
from common.egress.lookup import Lookup
from common.egress.policies import TargetPolicy
from common.streams.publisher import Publication
from common.urls import UrlRefusal, read_url
from fetcher.egress.budgets import Budgets
from fetcher.egress.client import EgressClient, Exchange
from fetcher.egress.dial import GuardedRequest, guarded_connector, verifying_tls
from fetcher.egress.evidence import CURRENT_HOP, HopRecord
from fetcher.egress.kept import Keeping
from fetcher.egress.resolver import GuardedResolver
from fetcher.metrics import FetcherMetrics
from fetcher.slots import Slots
from fetcher.tasks import Tasks
from yarl import URL

BATCH_ATTEMPTS = 32
SLICE_BATCHES = 3
WARM_UP_SLICES = 3
NAME = "localhost"
POLICY = TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),))
HEADERS = {"User-Agent": "bench/1", "Accept-Encoding": "gzip, deflate, br, zstd"}
SESSION: Any = {"auto_decompress": False}
FETCH_ID, LEASE = UUID(int=7), timedelta(seconds=60)


class _Origin(asyncio.Protocol):
    """Answers every request head with the same response: as little work as an origin can have."""

    response = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.pending = transport, b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while b"\r\n\r\n" in self.pending:
            head, _, self.pending = self.pending.partition(b"\r\n\r\n")
            self.transport.write(self.response)
            if b"connection: close" in head.lower():
                self.transport.close()


@contextmanager
def running_origin(size: int) -> Iterator[str]:
    """An origin of pages of so many bytes, a process of its own; the start of its URLs."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    origin = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, size), daemon=True)
    origin.start()
    try:
        yield f"http://{NAME}:{listener.getsockname()[1]}"
    finally:
        origin.terminate()
        origin.join()


def _serve(listener: socket.socket, size: int) -> None:
    async def run() -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {size}\r\n\r\n"
        page = b"".join(b"<p>Line %d of a page of text, which compresses as such pages do.</p>\n" % n for n in range(size // 60))
        _Origin.response = head.encode() + page[:size].ljust(size)
        server = await asyncio.get_running_loop().create_server(_Origin, sock=listener)
        await server.serve_forever()

    uvloop.run(run())


async def _lookup(_name: str) -> list[str]:
    read_address.cache_clear()  # as if the name had an address that was never seen before
    return ["127.0.0.1"]


class _StubResolver(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        return [aiohttp.abc.ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class _BareClient:
    """A session as aiohttp makes it, behind the one method of our client that an attempt calls."""

    budgets = Budgets()

    def __init__(self, *, is_fresh: bool, lookup: Lookup | None) -> None:
        self._session = self._open(is_fresh=is_fresh, lookup=lookup)

    def _open(self, *, is_fresh: bool, lookup: Lookup | None) -> aiohttp.ClientSession:
        resolver = _StubResolver() if lookup else aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=0, force_close=is_fresh)
        return aiohttp.ClientSession(connector=connector, **SESSION)

    @asynccontextmanager
    async def exchange(self, request: FetchRequest, **_: Any) -> AsyncIterator[Exchange]:
        async with self._session.request(
            request.method, self._admit(request.url), headers=HEADERS, allow_redirects=False
        ) as response:
            head = ResponseHead(status=response.status, headers=tuple(response.headers.items()), final_url=request.url)
            yield Exchange(head=head, coding="", length=response.content_length, chunks=response.content.iter_any())

    def _admit(self, url: str) -> str | URL:
        return url

    async def close(self) -> None:
        await self._session.close()


class _SessionRequest(GuardedRequest):
    """A session's own request, that has `judge` look at its connection's other end before it is written."""

    judge: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        aiohttp.ClientRequest.__init__(self, *arguments, **options)
        self.connect_ends_at = None

    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Judge, then send."""
        self.judge(conn, hop=CURRENT_HOP.get())
        return super().send(conn)


class _GuardedClient(_BareClient):
    """The same with the guard: the URL is read, and every name, address, dial and peer is judged."""

    def _open(self, *, is_fresh: bool, lookup: Lookup | None) -> aiohttp.ClientSession:
        connector = guarded_connector(
            POLICY,
            resolver=GuardedResolver(POLICY, lookup=lookup),
            open_socket=socket.socket,
            tls=verifying_tls(),
            budgets=Budgets(),
            keeping=None if is_fresh else Keeping(),
        )
        connector._factory = partial(ResponseHandler, asyncio.get_running_loop())  # metering is the client's

        class Request(_SessionRequest):
            judge = connector.judge_connection

        return aiohttp.ClientSession(connector=connector, request_class=Request, **SESSION)

    def _admit(self, url: str) -> str | URL:
        target = read_url(url)
        if isinstance(target, UrlRefusal) or judge_before_lookup(target.name, target.port, policy=POLICY) is not None:
            raise ValueError("the bench asks for what is allowed")
        CURRENT_HOP.set(HopRecord(url=target.url))
        return target.parsed


class _Shelf:
    """Where outcomes end, in the place of the events Redis: written down as they would be for it."""

    def __init__(self) -> None:
        self.responses = 0

    def report(self, publication: Publication, **_: Any) -> asyncio.Future[bool]:
        """Write the event, and count it if it has a response."""
        publication.event.model_dump_json(exclude_none=True)
        self.responses += publication.event.data.outcome.response is not None
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done


class Contestant:
    """A worker's tasks around one of the clients."""

    def __init__(self, client: Any, *, batch_attempts: int = BATCH_ATTEMPTS) -> None:
        self.client, self._shelf, slots = client, _Shelf(), Slots(batch_attempts)
        self._batch_attempts = batch_attempts
        self._tasks = Tasks(
            asyncio.get_running_loop(),
            slots=slots,
            client=client,
            reporter=self._shelf,  # type: ignore[arg-type]
            metrics=FetcherMetrics(slots),
            worker="bench",
            clock=utc_now,
        )

    async def slice_seconds(self, messages: Sequence[str]) -> float:
        """CPU seconds of an attempt, measured over these batches, one after another."""
        started_at, responses = time.process_time(), self._shelf.responses
        for message in messages:
            self._tasks.take_batch(message)
            await asyncio.sleep(0)  # until all of them have started
            await self._tasks.finish(seconds=LEASE.total_seconds())
        attempts = len(messages) * self._batch_attempts
        if self._shelf.responses - responses != attempts:
            raise RuntimeError("an attempt came to nothing")
        return (time.process_time() - started_at) / attempts


def _messages(urls: Iterator[str], *, method: Any) -> list[str]:
    """The batches of one slice, as they come from the broker."""
    return [_message([next(urls) for _ in range(BATCH_ATTEMPTS)], method=method) for _ in range(SLICE_BATCHES)]


def _message(urls: Sequence[str], *, method: Any) -> str:
    lease_ends_at = utc_now() + LEASE
    return message_of(
        PerformFetch(id=FETCH_ID, dispatch_seq=1, lease_ends_at=lease_ends_at, request=FetchRequest(url=url, method=method))
        for url in urls
    )


def message_of(fetches: Iterable[PerformFetch]) -> str:
    """A batch as it comes from the broker."""
    now, batch = utc_now(), PerformFetches(fetches=tuple(fetches))
    envelope = Envelope[PerformFetches].wrap(batch, type=FETCH_PERFORM, source="b", subject="b", now=now, traceparent=None)
    return envelope.model_dump_json()


async def _compare(base: str, *, rounds: int, is_fresh: bool, lookup: Lookup | None) -> float:
    """The ratio of guarded to bare attempts for the same CPU."""
    clients = {
        "bare": _BareClient(is_fresh=is_fresh, lookup=lookup),
        "guarded": _GuardedClient(is_fresh=is_fresh, lookup=lookup),
        "client": EgressClient(POLICY, user_agent="bench/1", lookup=lookup),
    }
    contestants = {kind: Contestant(client) for kind, client in clients.items()}
    urls = (f"{base}/page/{number}" for number in count())
    method = "POST" if is_fresh else "GET"  # the client gives a POST a connection of its own
    order = list(contestants)
    for kind in order * WARM_UP_SLICES:
        await contestants[kind].slice_seconds(_messages(urls, method=method))
    gc.freeze()  # or whoever is measured when the collector looks through all modules pays for it
    seconds: dict[str, list[float]] = {kind: [] for kind in order}
    for _ in range(rounds):
        random.shuffle(order)
        for kind in order:
            seconds[kind].append(await contestants[kind].slice_seconds(_messages(urls, method=method)))
    for client in clients.values():
        await client.close()
    ratio = {
        kind: statistics.median(bare / own for bare, own in zip(seconds["bare"], figures, strict=True))
        for kind, figures in seconds.items()
    }
    medians = ", ".join(f"{kind} {1e6 * statistics.median(figures):.0f} µs" for kind, figures in seconds.items())
    print(f"{'fresh' if is_fresh else 'kept'} connections: {medians} of CPU for an attempt")
    print(f"  guarded/bare {ratio['guarded']:.3f}, so the guard costs {100 * (1 - ratio['guarded']):.1f} % of throughput")
    print(f"  client/bare {ratio['client']:.3f}, with metering, budgets and evidence", flush=True)
    return ratio["guarded"]


async def _compare_each(base: str, *, arguments: argparse.Namespace) -> float:
    """The lowest ratio of kept and fresh connections."""
    lookup = None if arguments.system_lookup else _lookup
    chosen = [arguments.only] if arguments.only else ["kept", "fresh"]
    return min([await _compare(base, rounds=arguments.rounds, is_fresh=kind == "fresh", lookup=lookup) for kind in chosen])


def main() -> None:
    """Start the origin, compare, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--size", type=int, default=16 * 1024)
    parser.add_argument("--only", choices=("kept", "fresh"))
    parser.add_argument("--system-lookup", action="store_true")
    parser.add_argument("--limit", type=float, default=0.0)
    arguments = parser.parse_args()
    configure_logging(service="bench", level="error")
    with running_origin(arguments.size) as base:
        ratio = uvloop.run(_compare_each(base, arguments=arguments))
    sys.exit(int(ratio < arguments.limit))


if __name__ == "__main__":
    main()
