"""One lookup of a name, every answer judged: one bad answer refuses the whole set.

Asks the system's resolver and nobody else. What is an address already is judged by `addresses` and never comes here.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from common.egress.addresses import AddressVerdict, judge_dial, read_address
from common.egress.policies import EgressPolicy

LOOKUP_TIMEOUT_SECONDS = 3.0
LOOKUP_THREADS = 64
ANSWER_LIMIT = 8

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Textual addresses of a name; raises OSError when there are none to be had."""


class NameUnresolved(Exception):
    """A name has no address, or none was found in time. Its text is a constant sentence that may be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a name resolved to, in order, each once and at most ANSWER_LIMIT; the verdict is of all answers, kept or not."""

    addresses: tuple[str, ...]
    verdict: AddressVerdict


class NameLookup:
    """Looks names up for one policy and judges every answer. `close()` frees its threads."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        lookup: Lookup | None = None,
        timeout_seconds: float = LOOKUP_TIMEOUT_SECONDS,
        threads: int = LOOKUP_THREADS,
    ) -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="lookup")
        self._lookup = lookup or _system_lookup(self._threads, policy=policy)

    async def answers(self, name: str, port: int) -> Answers:
        """The judged answers for a dial on `port`. Raises NameUnresolved when there are none within the limit."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                found = {answer: read_address(answer) for answer in await self._lookup(name)}
        except TimeoutError as error:
            raise NameUnresolved("The host name could not be looked up in time.") from error
        except (OSError, ValueError) as error:  # ValueError: no legal name, or an answer that is no address
            raise NameUnresolved("The host name has no address.") from error
        if not found:
            raise NameUnresolved("The host name has no address.")
        verdicts = [judge_dial(address, port, policy=self._policy, name=name) for address in found.values()]
        denied = [verdict for verdict in verdicts if not verdict.is_allowed]
        return Answers(addresses=tuple(found)[:ANSWER_LIMIT], verdict=denied[0] if denied else verdicts[0])

    def close(self) -> None:
        """Stop the lookup threads; a lookup that still runs is abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
