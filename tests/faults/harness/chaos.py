"""Case 36: kill processes at random, all of them or one, start them again in random order, and measure what clients notice."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from harness.cluster import EVERYTHING, Cluster
from harness.load import Load
from harness.recovery import finished, wait_recovered

GAP_SECONDS = 0.3
DOWN_SECONDS = 1.5
CALM_SECONDS = 1.5
SAMPLE_SECONDS = 1.0
ALL = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: what was killed, from the first kill until all served again, and from then to 90 % of the offered rate."""

    kind: str
    killed: Sequence[str]
    began: float
    down_seconds: float
    recovery_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """So long after the beginning so many fetches were promised and so many terminal, or None while nobody could say."""

    at: float
    accepted: int
    finished: int | None


@dataclass(slots=True, kw_only=True)
class Chaos:
    """What happened: the rounds in order and a sample each second."""

    offered_per_second: float
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    rounds: list[Round] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


async def wreak(cluster: Cluster, load: Load, *, rounds: int, per_second: float, rng: random.Random) -> Chaos:
    """So many rounds under load. The first kills everything, every second one too, the others one process each.

    Raises AssertionError when the system is not back in time after one.
    """
    chaos = Chaos(offered_per_second=per_second)
    async with _sampling(cluster, load, chaos), load.steady(per_second=per_second, seconds=(0.0, 0.0, 0.1, 0.5)):
        await asyncio.sleep(CALM_SECONDS)
        for number in range(rounds):
            kind = ALL if number % 2 == 0 else EVERYTHING[(number // 2) % len(EVERYTHING)]
            chaos.rounds.append(await _round(cluster, kind, chaos, rng))
            print(f"round {number + 1} of {rounds}: {chaos.rounds[-1]}", flush=True)
            await asyncio.sleep(rng.uniform(0, CALM_SECONDS))
    chaos.seconds = time.monotonic() - chaos.began
    return chaos


async def _round(cluster: Cluster, kind: str, chaos: Chaos, rng: random.Random) -> Round:
    victims = list(EVERYTHING) if kind == ALL else [kind]
    rng.shuffle(victims)
    began = time.monotonic()
    for victim in victims:
        cluster.kill(victim, stays_down=True)
        await asyncio.sleep(rng.uniform(0, GAP_SECONDS) * rng.randrange(2))
    await asyncio.sleep(rng.uniform(0, DOWN_SECONDS))
    returning = rng.sample(victims, len(victims))
    for victim in returning:
        cluster.start(victim)
        await asyncio.sleep(rng.uniform(0, GAP_SECONDS))
    await cluster.wait_ready()
    down_seconds = time.monotonic() - began
    recovery = await wait_recovered(cluster, per_second=chaos.offered_per_second)
    return Round(
        kind=kind,
        killed=victims,
        began=began - chaos.began,
        down_seconds=down_seconds,
        recovery_seconds=recovery.seconds,
    )


@asynccontextmanager
async def _sampling(cluster: Cluster, load: Load, chaos: Chaos) -> AsyncIterator[None]:
    async def sample() -> None:
        while True:
            count = await finished(cluster)
            chaos.samples.append(
                Sample(at=time.monotonic() - chaos.began, accepted=load.answers[202], finished=count)
            )
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield
    finally:
        sampling.cancel()
