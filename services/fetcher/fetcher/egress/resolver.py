"""One lookup per connection, every answer judged: one bad answer refuses the whole set.

IP literals never come here (aiohttp hands them straight to the dial); the client and the socket factory judge those.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from aiohttp.abc import AbstractResolver, ResolveResult
from common.contracts.fetches import ErrorType

from fetcher.egress.addresses import AddressVerdict, judge_dial, read_address
from fetcher.egress.evidence import CURRENT_HOP
from fetcher.egress.failures import refuse
from fetcher.egress.policies import EgressPolicy
from fetcher.errors import ExchangeFailed

LOOKUP_TIMEOUT_SECONDS = 3.0
LOOKUP_THREADS = 64
ANSWER_LIMIT = 8

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Textual addresses of a name; raises OSError when there are none to be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a name resolved to, in order, each once and at most ANSWER_LIMIT; the verdict is of all answers, kept or not."""

    addresses: tuple[str, ...]
    verdict: AddressVerdict


class NameLookup:
    """Looks names up for one policy and judges every answer. `close()` frees its threads."""

    def __init__(
        self, policy: EgressPolicy, *, lookup: Lookup | None = None, timeout_seconds: float = LOOKUP_TIMEOUT_SECONDS
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")
        self._lookup = lookup or _system_lookup(self._threads, policy=policy)

    async def answers(self, name: str, port: int) -> Answers:
        """The judged answers for a dial on `port`. Raises ExchangeFailed `dns` when there are none within the limit."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = {answer: read_address(answer) for answer in await self._lookup(name)}
        except TimeoutError as error:
            raise ExchangeFailed(ErrorType.DNS, "The host name could not be looked up in time.") from error
        except (OSError, ValueError) as error:  # ValueError: no legal name, or an answer that is no address
            raise ExchangeFailed(ErrorType.DNS, "The host name has no address.") from error
        if not found:
            raise ExchangeFailed(ErrorType.DNS, "The host name has no address.")
        verdicts = [judge_dial(address, port, policy=self._policy, name=name) for address in found.values()]
        denied = [verdict for verdict in verdicts if not verdict.is_allowed]
        return Answers(addresses=tuple(found)[:ANSWER_LIMIT], verdict=denied[0] if denied else verdicts[0])

    def close(self) -> None:
        """Stop the lookup threads; a lookup that still runs is abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(AbstractResolver):
    """Resolves for one dial and hands on only judged addresses; writes what it found into the current hop."""

    def __init__(
        self, policy: EgressPolicy, *, lookup: Lookup | None = None, timeout_seconds: float = LOOKUP_TIMEOUT_SECONDS
    ) -> None:
        self._names = NameLookup(policy, lookup=lookup, timeout_seconds=timeout_seconds)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The judged addresses of `host`, at most ANSWER_LIMIT. Raises ExchangeFailed when refused or not found."""
        hop = CURRENT_HOP.get()
        started_at = perf_counter()
        try:
            answers = await self._names.answers(host, port)
        finally:
            hop.dns_seconds += perf_counter() - started_at
        hop.addresses, hop.verdict = list(answers.addresses), answers.verdict
        if not hop.verdict.is_allowed:
            raise refuse(hop.verdict)
        return [
            ResolveResult(hostname=host, host=answer, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for answer in hop.addresses
        ]

    async def close(self) -> None:
        """Stop the lookup threads; a lookup that still runs is abandoned."""
        self._names.close()


def _system_lookup(threads: Executor, *, policy: EgressPolicy) -> Lookup:
    """getaddrinfo in a bounded set of threads.

    A name is looked up as absolute (`name.`), so that search domains (Kubernetes' `ndots:5`) never turn a public name into
    a cluster's; glibc then skips /etc/hosts. Where unsafe networks are listed, names are meant to be local and go as they are.
    """

    async def look_up(name: str) -> list[str]:
        asked = name if policy.unsafe_networks else f"{name}."
        return await asyncio.get_running_loop().run_in_executor(threads, _addresses_of, asked)

    return look_up


def _addresses_of(name: str) -> list[str]:
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
