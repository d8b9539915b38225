"""The negative controls: what the suite would see if the product broke its promise. Each runs twice, with one mutant and without.

The two runs differ by the mutant only, so that what is caught is the mutant's and not the fault's.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from signal import SIGKILL
from time import time
from typing import Any

import pytest
from common.streams.names import ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE, STORE_GROUP
from harness.checker import Allowance, Findings, assert_kept, check
from harness.cluster import SERVERS, Cluster, OpenCluster
from harness.load import Load, open_load
from harness.mutants import NO_MUTANT
from harness.slow_disk import slow_fsync
from harness.unacked import UNACKED
from harness.waiting import meet_hosts

PATIENCE_SECONDS = 4.0
"""How long the checker waits for what a mutant lost. That it is lost and not late is asserted of the queues."""
UNDER_WAY = (ACCEPTED_STREAM, ATTEMPTED_STREAM, COMMAND_QUEUE, UNACKED)
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.05
HELD_TIMEOUT_SECONDS = 5.0
"""Of what the origin holds until a fault has struck: no longer than that may a busy machine take to ask for all of it."""
LEASE_PATIENCE_SECONDS = 30.0
COUNT = 20
FROZEN_SECONDS = 1.5
SLOW_SECONDS = 1.5
UNWRITTEN_BYTES = 8_000

Scenario = Callable[[Cluster, Load], Awaitable[Allowance | None]]
NOT_IN_THE_LEDGER = "I1: .* was promised and is not in the ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Which process is mutated and how, under what load and fault, and what the checker must say of it, each as an expression."""

    role: str
    mutant: str
    scenario: Scenario
    sentences: Sequence[str]
    patience_seconds: float = PATIENCE_SECONDS


async def _wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(LOOK_SECONDS)


def _requested(cluster: Cluster, load: Load) -> int:
    return len(cluster.origin.hits().keys() & set(load.submitted))


def _assert_caught(findings: Findings, sentences: Sequence[str]) -> None:
    for sentence in sentences:
        assert any(re.match(sentence, breach) for breach in findings.breaches), f"not caught: {sentence}: {findings.breaches}"
    late = [breach for breach in findings.breaches if breach.startswith(tuple(f"I4: {name} still" for name in UNDER_WAY))]
    assert not late, f"maybe only late: {late}"


async def _assert_killed_itself(cluster: Cluster, name: str) -> None:
    def codes() -> list[int]:
        return [death.code for death in cluster.deaths if death.name == name and not death.was_killed]

    await _wait_until(lambda: bool(codes()))
    assert codes() == [-SIGKILL]
    await cluster.wait_ready(name)


async def _store_killed_before_commit(cluster: Cluster, load: Load) -> None:
    cluster.change("store", FAILPOINT="before:store.consumer:Ingest._commit")
    await cluster.boot()
    await load.submit_many(COUNT)
    await _assert_killed_itself(cluster, "store")


async def _store_killed_after_commit(cluster: Cluster, load: Load) -> None:
    cluster.change("store", FAILPOINT="before:store.handlers:RecordHandler.settle")
    await cluster.boot()
    await load.submit_many(COUNT)
    await _assert_killed_itself(cluster, "store")


async def _store_away(cluster: Cluster, load: Load) -> None:
    await cluster.boot()
    cluster.kill("store", stays_down=True)
    await load.submit_many(COUNT)
    cluster.start("store")
    await cluster.wait_ready("store")


async def _fetcher_killed_with_work_out(cluster: Cluster, load: Load) -> None:
    await cluster.boot()
    await meet_hosts(cluster, load)
    with cluster.origin.holding():
        await load.submit_many(COUNT, timeout_seconds=HELD_TIMEOUT_SECONDS)
        await _wait_until(lambda: _requested(cluster, load) == len(load.submitted))
        cluster.kill("fetcher")
    await cluster.wait_ready("fetcher")


async def _fetcher_killed_while_it_posts(cluster: Cluster, load: Load) -> None:
    await cluster.boot()
    await meet_hosts(cluster, load)
    with cluster.origin.holding():
        await load.submit_many(COUNT, method="POST", retries={"max": 0}, timeout_seconds=HELD_TIMEOUT_SECONDS)
        await _wait_until(lambda: _requested(cluster, load) == len(load.submitted))
        cluster.kill("fetcher")
    await cluster.wait_ready("fetcher")


async def _gateway_killed_while_redis_is_frozen(cluster: Cluster, load: Load) -> Allowance:
    await cluster.boot()
    await load.submit_many(COUNT)
    cluster.freeze("events")
    began = time()
    async with load.steady(per_second=30):
        await asyncio.sleep(FROZEN_SECONDS)
        ended = time()
        cluster.kill("gateway")
        cluster.thaw("events")
        await cluster.wait_ready("gateway")
    assert load.answers[202] > COUNT
    return Allowance(no_promise_windows=[(began, ended)])


async def _gateway_killed_before_it_answers(cluster: Cluster, load: Load) -> None:
    cluster.change("gateway", FAILPOINT="after:gateway.promises.publish:Publisher._append")
    await cluster.boot()
    await load.submit_many(COUNT)
    await _assert_killed_itself(cluster, "gateway")
    assert load.answers[0] > 0


async def _work_that_takes_a_while(cluster: Cluster, load: Load) -> None:
    await cluster.boot()
    await load.submit_many(5, seconds=0.3)


async def _many(cluster: Cluster, load: Load) -> None:
    await cluster.boot()
    await load.submit_many(220)


CONTROLS = (
    Control(
        role="store", mutant="ack_before_commit", scenario=_store_killed_before_commit, sentences=(NOT_IN_THE_LEDGER,)
    ),
    Control(
        role="store",
        mutant="no_lease",
        scenario=_fetcher_killed_with_work_out,
        sentences=("I1: .* was promised and is not terminal", "I4: fetch_queue still holds"),
        patience_seconds=LEASE_PATIENCE_SECONDS,
    ),
    Control(role="gateway", mutant="maxlen", scenario=_store_away, sentences=(NOT_IN_THE_LEDGER,)),
    Control(
        role="store",
        mutant="claim_rolled_back",
        scenario=_work_that_takes_a_while,
        sentences=("I5: .* was requested .* times and given out 0 times",),
    ),
    Control(
        role="gateway",
        mutant="promise_first",
        scenario=_gateway_killed_while_redis_is_frozen,
        sentences=(NOT_IN_THE_LEDGER, "I6: .* was promised while nothing could be written"),
    ),
    Control(
        role="gateway",
        mutant="forget_keys",
        scenario=_gateway_killed_before_it_answers,
        sentences=("I2: .* has 2 fetches",),
    ),
    Control(
        role="store",
        mutant="overwrite_terminal",
        scenario=_store_killed_after_commit,
        sentences=("I2: .* was announced 2 times", "I3: .* succeeded became succeeded"),
    ),
    Control(
        role="store",
        mutant="every_method_again",
        scenario=_fetcher_killed_while_it_posts,
        sentences=("I5: .* may be sent once only and was requested 2 times",),
        patience_seconds=LEASE_PATIENCE_SECONDS,
    ),
    Control(
        role="store",
        mutant="drop_one_in_a_hundred",
        scenario=_many,
        sentences=("I1: .* was promised and is not terminal", "I7: .* fetches were counted in, .* ended"),
    ),
    Control(
        role="fetcher", mutant="body_of_another", scenario=_many, sentences=("I2: .* has a body that was never served for it",)
    ),
    Control(role="store", mutant="bodies_swapped", scenario=_many, sentences=("I2: the body kept as .* is another",)),
    Control(role="store", mutant="unannounced", scenario=_many, sentences=("I2: .* was announced 0 times",)),
    Control(role="store", mutant="unsent", scenario=_many, sentences=("I2: .* is not on the feed",)),
)
QUICK = ("ack_before_commit", "overwrite_terminal")


def _parameters() -> list[object]:
    return [
        pytest.param(control, id=control.mutant, marks=[pytest.mark.quick] if control.mutant in QUICK else [])
        for control in CONTROLS
    ]


@pytest.mark.parametrize("is_mutated", [False, True], ids=["product", "mutant"])
@pytest.mark.parametrize("control", _parameters())
async def test_a_mutant_is_caught_and_the_same_case_without_it_passes(
    open_case: OpenCluster, control: Control, is_mutated: bool
) -> None:
    async with open_case() as cluster, open_load(cluster, prefix=f"{control.mutant}-{is_mutated}") as load:
        cluster.change(control.role, each_time=True, MUTANT=control.mutant if is_mutated else NO_MUTANT)
        allow = await control.scenario(cluster, load)
        if is_mutated:
            _assert_caught(await check(cluster, load, allow=allow, quiet_seconds=control.patience_seconds), control.sentences)
        else:
            await assert_kept(cluster, load, allow=allow, quiet_seconds=LEASE_PATIENCE_SECONDS)


async def _open_slow_disk(cluster: Cluster, *, appendfsync: str) -> None:
    """Servers and gateway only, so that what is promised stays in the events Redis. It starts with a slow disk this once."""
    (cluster.folder / "slow").mkdir()
    cluster.change("events", **slow_fsync(cluster.folder / "slow", seconds=SLOW_SECONDS))
    with (cluster.folder / "data" / "events" / "valkey.conf").open("a", encoding="ascii") as configuration:
        configuration.write(f"appendfsync {appendfsync}\n")
    cluster.start(*SERVERS)
    await cluster.wait_ready(*SERVERS)
    async with cluster.redis("events") as events:  # what a store does; without the stream nothing would be promised at all
        await events.xgroup_create(ACCEPTED_STREAM, STORE_GROUP, id="0", mkstream=True)
    cluster.start("gateway")


async def _persistence(cluster: Cluster) -> Mapping[str, Any]:
    async with cluster.redis("events") as events:
        found: Mapping[str, Any] = await events.info("persistence")
        return found


async def _kill_the_events_redis(cluster: Cluster, load: Load, *, unwritten_bytes: int) -> None:
    """Under load, once enough is promised and so much of it is not written."""
    async with load.steady(per_second=40):
        async with asyncio.timeout(WAIT_SECONDS):
            while load.answers[202] < COUNT or (await _persistence(cluster))["aof_buffer_length"] < unwritten_bytes:
                await asyncio.sleep(LOOK_SECONDS)
        cluster.kill("events")
        await cluster.wait_ready("events")
        cluster.start()
        await cluster.wait_ready("store", "fetcher", "gateway")


async def test_case_16_a_gateway_promises_nothing_while_the_events_redis_does_not_fsync_always(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c16-product") as load:
        cluster.change("gateway", MUTANT=NO_MUTANT)
        await _open_slow_disk(cluster, appendfsync="everysec")
        await _wait_answer(load)
        assert [(await load.try_once(load.token()))[0] for _ in range(COUNT)] == [503] * COUNT
        assert load.journal.promises() == []


async def test_case_16_what_a_gateway_promised_without_fsync_is_seen_to_be_lost(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c16-mutant") as load:
        cluster.change("gateway", each_time=True, MUTANT="trust_any_fsync")
        await _open_slow_disk(cluster, appendfsync="everysec")
        await _wait_answer(load)
        await _kill_the_events_redis(cluster, load, unwritten_bytes=UNWRITTEN_BYTES)
        _assert_caught(await check(cluster, load, quiet_seconds=PATIENCE_SECONDS), [NOT_IN_THE_LEDGER])


async def test_case_16_what_was_promised_after_a_slow_fsync_is_kept(open_case: OpenCluster) -> None:
    async with open_case() as cluster, open_load(cluster, prefix="c16-always") as load:
        cluster.change("gateway", each_time=True, MUTANT=NO_MUTANT)
        await _open_slow_disk(cluster, appendfsync="always")
        await _wait_answer(load)
        await _kill_the_events_redis(cluster, load, unwritten_bytes=0)
        await assert_kept(cluster, load)


async def _wait_answer(load: Load) -> None:
    token = load.token()
    async with asyncio.timeout(WAIT_SECONDS):
        while (await load.try_once(token))[0] == 0:
            await asyncio.sleep(LOOK_SECONDS)
