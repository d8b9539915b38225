"""Is the process alive, and can it serve? Checks with a timeout each, and a plain report of what they found."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[], Awaitable[None]]
"""Returns when all is well; raises with a reason that may be shown to operators when it is not."""

CHECK_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The result of every check: None when it passed, a short reason when it did not."""

    results: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        """True when no check failed."""
        return not any(self.results.values())

    def lines(self) -> str:
        """One line a check, in the form Kubernetes uses: `[+]name ok` or `[-]name failed: reason`."""
        rows = [f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok" for name, reason in self.results.items()]
        return "\n".join([*rows, "healthy" if self.is_healthy else "unhealthy"]) + "\n"


async def run_checks(checks: Mapping[str, Check]) -> HealthReport:
    """Run all checks at once; one that takes longer than CHECK_TIMEOUT_SECONDS has failed. Never raises."""
    reasons = await asyncio.gather(*(_run(check) for check in checks.values()))
    return HealthReport(results=dict(zip(checks, reasons, strict=True)))


async def _run(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # a health check reports every failure; only its class is safe to show
        return type(error).__name__
    return None
