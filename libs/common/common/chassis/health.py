"""Is the process alive, and can it serve? Checks with a timeout each, and a plain report of what they found.

A reason is made of a closed set of words: it names no host, address, credential or key, whatever the failure says itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises when it is not. `Unhealthy` raises its own words, all else is told in ours."""

CHECK_TIMEOUT_SECONDS = 2.0
CAUSES_LIMIT = 8

WORDS: Final[Mapping[str, str]] = {
    "ConnectionRefusedError": "cannot connect",
    "ClientConnectorError": "cannot connect",
    "gaierror": "name not found",
    "ConnectionResetError": "connection lost",
    "ConnectionDoesNotExistError": "connection lost",
    "IncompleteReadError": "connection lost",
    "ServerDisconnectedError": "connection lost",
    "TimeoutError": "no answer in time",
    "AuthenticationError": "credentials refused",
    "InvalidPasswordError": "credentials refused",
    "NoPermissionError": "not permitted",
    "InsufficientPrivilegeError": "not permitted",
    "BusyLoadingError": "still loads its data",
    "ReadOnlyError": "is a replica",
    "CannotConnectNowError": "starts or stops",
    "AdminShutdownError": "starts or stops",
    "TooManyConnectionsError": "no connection left",
    "UndefinedTableError": "schema missing",
    "ConnectionError": "cannot connect",
}
"""What operators are told about the failures that they meet, by the name of the exception's class."""


class Unhealthy(Exception):
    """A check failed, with words of ours that anyone may read."""


@dataclass(slots=True)
class Soft:
    """A check of what the process can do without: it degrades, and stays ready.

    With `is_needed_once` it is as hard as any until it passed once, so that a release with a wrong address never goes live.
    """

    check: Check
    is_needed_once: bool = False
    has_passed: bool = field(default=False, init=False)

    async def __call__(self) -> None:
        """Check."""
        await self.check()
        self.has_passed = True

    @property
    def is_hard(self) -> bool:
        """Whether a failure makes the process unready now."""
        return self.is_needed_once and not self.has_passed


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The result of every check: None when it passed, a short reason when it did not. Those in `soft` only degrade."""

    results: Mapping[str, str | None] = field(default_factory=dict)
    soft: frozenset[str] = frozenset()

    @property
    def is_healthy(self) -> bool:
        """True when no check failed, apart from those that only degrade."""
        return not any(reason for name, reason in self.results.items() if name not in self.soft)

    def lines(self) -> str:
        """One line a check, in the form Kubernetes uses: `[+]name ok` or `[-]name failed: reason`; `[!]name degraded: reason`."""
        return "\n".join([*self._rows(), "healthy" if self.is_healthy else "unhealthy"]) + "\n"

    def _rows(self) -> Iterator[str]:
        for name, reason in self.results.items():
            if reason is None:
                yield f"[+]{name} ok"
            elif name in self.soft:
                yield f"[!]{name} degraded: {reason}"
            else:
                yield f"[-]{name} failed: {reason}"


async def run_checks(checks: Mapping[str, Check]) -> HealthReport:
    """Run all checks at once; one that takes longer than CHECK_TIMEOUT_SECONDS has failed. Never raises."""
    reasons = await asyncio.gather(*(_run(check) for check in checks.values()))
    soft = frozenset(name for name, check in checks.items() if isinstance(check, Soft) and not check.is_hard)
    return HealthReport(results=dict(zip(checks, reasons, strict=True)), soft=soft)


async def _run(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT_SECONDS:g} s"
    except Unhealthy as unhealthy:
        return str(unhealthy)
    except Exception as error:  # a health check reports every failure; only classes and our own words are safe to show
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """The innermost failure that has words, since the outer ones are what we made of it; else the outermost class."""
    known = [name for name in map(_class_name, _causes(error)) if name in WORDS]
    return f"{known[-1]}: {WORDS[known[-1]]}" if known else _class_name(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(CAUSES_LIMIT):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _class_name(error: BaseException) -> str:
    return type(error).__name__
