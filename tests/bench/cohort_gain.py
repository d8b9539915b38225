"""What it gains that attempts go through their way in cohorts (`fetcher.cohorts`): CPU of an attempt with and without.

Trains run as in a worker (`Tasks`), only without Redis, logs and robots.txt, against an origin in a process of its own. Both take
turns in slices, in an order drawn anew each round, and each slice is held against the other of its round: what else runs on the
machine weighs on both alike. The gain depends on the second-level cache: it is large where an attempt's way does not fit into it.

Argument: `--rounds N`.
"""

import argparse
import gc
import random
import statistics
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from uuid import UUID, uuid4

import uvloop
from common.chassis.logging import configure_logging
from common.clock import utc_now
from common.contracts.fetches import FetchRequest, PerformFetch, Train
from fetcher import perform, train
from fetcher.cohorts import fall_in
from fetcher.egress.client import EgressClient
from guard_cost import FETCH_ID, LEASE, POLICY, Contestant, message_of, running_origin

TRAINS, CARS = 48, 10
PAGE_BYTES = 10_000
WARM_UP_SLICES = 3
Step = Callable[[], Awaitable[None]]


async def _go_on() -> None:
    """In the place of `fall_in`: each attempt goes on alone."""


def _message(urls: Iterator[str]) -> str:
    return message_of(
        PerformFetch(
            id=FETCH_ID,
            dispatch_seq=1,
            lease_ends_at=utc_now() + LEASE,
            train=Train(id=train_id, seconds=LEASE.total_seconds()),
            request=FetchRequest(url=next(urls)),
        )
        for train_id in _train_ids()
        for _ in range(CARS)
    )


def _train_ids() -> Iterator[UUID]:
    return (uuid4() for _ in range(TRAINS))


async def _slice_seconds(contestant: Contestant, urls: Iterator[str], *, step: Step) -> float:
    perform.fall_in = train.fall_in = step  # type: ignore[assignment]
    try:
        return await contestant.slice_seconds([_message(urls)])
    finally:
        perform.fall_in = train.fall_in = fall_in


async def _compare(base: str, *, rounds: int) -> None:
    client = EgressClient(POLICY, user_agent="bench/1")
    contestant = Contestant(client, batch_attempts=TRAINS * CARS)
    urls = (f"{base}/page/{number}" for number in count())
    steps: dict[str, Step] = {"in cohorts": fall_in, "alone": _go_on}
    for _ in range(WARM_UP_SLICES):
        await _slice_seconds(contestant, urls, step=fall_in)
    gc.freeze()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name in random.sample(list(steps), len(steps)):
            seconds[name].append(await _slice_seconds(contestant, urls, step=steps[name]))
    await client.close()
    ratios = [together / alone for together, alone in zip(seconds["in cohorts"], seconds["alone"], strict=True)]
    print(", ".join(f"{name} {1e6 * statistics.median(each):.0f} µs" for name, each in seconds.items()), "of CPU for an attempt")
    print(f"in cohorts/alone {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


def main() -> None:
    """Start the origin, compare, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    configure_logging(service="bench", level="error")
    with running_origin(PAGE_BYTES) as base:
        uvloop.run(_compare(base, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
