"""Case 36, the headline: everything is killed, again and again, in random order. Nothing is lost and nothing is doubled."""

import random
from collections import Counter
from pathlib import Path

import pytest
from harness.chaos import ALL, wreak
from harness.checker import assert_kept
from harness.cluster import EVERYTHING, Cluster
from harness.latency import latencies
from harness.load import open_load
from harness.readers import NO_ANSWER, paths_of, reading
from harness.report import Run, write_report

QUICK_ROUNDS = 2


async def _run(cluster: Cluster, *, rounds: int, per_second: float, rng: random.Random, seed: int) -> Run:
    async with open_load(cluster, prefix=f"c36-{rounds}") as load:
        finished_id = (await load.submit_many(1))[0]
        await assert_kept(cluster, load)
        async with reading(cluster, lambda: paths_of(finished_id, str(load.last_id))) as answers:
            chaos = await wreak(cluster, load, rounds=rounds, per_second=per_second, rng=rng)
        findings = await assert_kept(cluster, load)
        run = Run(
            seed=seed,
            chaos=chaos,
            findings=findings,
            kills=Counter(cluster.kills),
            latencies=await latencies(cluster),
            unanswered=load.answers[0],
            refused=load.answers[503] + load.answers[429],
            reads=answers,
        )
    assert findings.statuses == {"succeeded": findings.accepted}
    statuses = {status for _, status in answers}
    assert {NO_ANSWER, 200} <= statuses
    assert statuses <= {NO_ANSWER, 200, 503}, f"{answers}\n{_failures(cluster)}"
    assert findings.accepted == len(load.submitted)
    everything = sum(one.kind == ALL for one in chaos.rounds)
    assert sum(cluster.kills.values()) == everything * len(EVERYTHING) + rounds - everything
    return run


def _failures(cluster: Cluster) -> str:
    """What the gateway logged of faults of its own, with where they happened."""
    return "\n".join(line[:4000] for line in cluster.log("gateway").splitlines() if "request failed" in line)


@pytest.mark.quick
async def test_case_36_everything_killed_twice_loses_nothing(cluster: Cluster, rng: random.Random) -> None:
    run = await _run(cluster, rounds=QUICK_ROUNDS, per_second=50, rng=rng, seed=0)
    assert run.findings.accepted > 100


async def test_case_36_everything_killed_round_after_round(
    cluster: Cluster, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    options = request.config.option
    run = await _run(cluster, rounds=options.faults_rounds, per_second=options.faults_rate, rng=rng, seed=options.faults_seed)
    if options.faults_report:
        write_report(run, Path(options.faults_report))
