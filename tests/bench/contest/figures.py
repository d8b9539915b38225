"""What one run of the benchmark found, and what was asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

FETCHWORK, BARE, SCRAPY = "Fetchwork", "bare aiohttp loop", "Scrapy into Postgres"
CELERY = "plain Celery, {}"
SHALLOW, DEEP = 1_000, 100_000
FEW, MANY = 10_000, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All figures: a second, seconds, megabytes, microseconds of CPU. Lists have a figure for each round."""

    machine: str
    per_second: Mapping[str, Sequence[float]]
    """Fetches a second of each contestant."""
    cpu_microseconds: Mapping[str, float]
    """Of each process of Fetchwork and of the origin, for one fetch."""
    promises_per_second: Mapping[str, Sequence[float]]
    promise_p50_seconds: float
    promise_p99_seconds: float
    idle_p50_seconds: float
    idle_p95_seconds: float
    by_stored_rows: Mapping[int, Sequence[float]]
    by_depth: Mapping[int, Sequence[float]]
    by_fetchers: Mapping[int, Sequence[float]]
    resident_megabytes: Mapping[str, float]
    """Of each process while DEEP fetches are queued; Postgres' shared pages are counted for each of its processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One line of the table. `is_limit` when less is better."""

    what: str
    found: float
    at_least: float
    aim: float
    unit: str = "×"
    is_limit: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the run did what was asked at least."""
        return self.found <= self.at_least if self.is_limit else self.found >= self.at_least


def targets(found: Found) -> list[Target]:
    """What was asked, with what was found; ratios of medians of one run."""
    own = median(found.per_second[FETCHWORK])
    celery = max(median(rates) for name, rates in found.per_second.items() if name.startswith(CELERY.split(",")[0]))
    promises = {name: median(rates) for name, rates in found.promises_per_second.items()}
    services = max(found.resident_megabytes[name] for name in ("gateway", "fetcher", "store"))
    return [
        Target(what="end to end, of plain Celery with the best of its pools", found=own / celery, at_least=5, aim=8),
        Target(what="end to end, of Scrapy into Postgres", found=own / median(found.per_second[SCRAPY]), at_least=4, aim=7),
        Target(what="end to end, of a bare aiohttp loop", found=own / median(found.per_second[BARE]), at_least=0.25, aim=0.45),
        Target(
            what="single POSTs accepted, of the same handler without fsync",
            found=promises["durable"] / promises["careless"],
            at_least=0.7,
            aim=0.9,
        ),
        Target(
            what=f"time for a fetch with {MANY:,} rows stored, of {FEW:,}",
            found=median(found.by_stored_rows[FEW]) / median(found.by_stored_rows[MANY]),
            at_least=1.2,
            aim=1.05,
            is_limit=True,
        ),
        Target(
            what=f"fetches a second with {DEEP:,} queued, of {SHALLOW:,}",
            found=median(found.by_depth[DEEP]) / median(found.by_depth[SHALLOW]),
            at_least=0.9,
            aim=1.0,
        ),
        Target(
            what="idle, POST to finished beyond the origin's time, p50",
            found=1000 * found.idle_p50_seconds,
            at_least=30,
            aim=12,
            unit=" ms",
            is_limit=True,
        ),
        Target(
            what=f"resident memory of the largest service with {DEEP:,} queued",
            found=services,
            at_least=150,
            aim=100,
            unit=" MB",
            is_limit=True,
        ),
    ]
