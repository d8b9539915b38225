"""One lookup for one dial: aiohttp gets addresses of a name only when all of them were judged and allowed.

IP literals never come here (aiohttp hands them straight to the dial); the client and the socket factory judge those.
"""

import socket
from time import perf_counter

from aiohttp.abc import AbstractResolver, ResolveResult
from common.contracts.fetches import ErrorType
from common.egress.lookup import LOOKUP_TIMEOUT_SECONDS, Lookup, NameLookup, NameUnresolved
from common.egress.policies import EgressPolicy

from fetcher.egress.evidence import CURRENT_HOP
from fetcher.egress.failures import refuse
from fetcher.errors import ExchangeFailed


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
        except NameUnresolved as error:
            raise ExchangeFailed(ErrorType.DNS, str(error)) from error
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
