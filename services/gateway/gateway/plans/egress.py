"""The egress part of a plan: may these URLs be dialled, by the rules that fetchers dial by."""

import asyncio
from collections.abc import Mapping, Sequence

from common.egress.lookup import NameLookup, NameUnresolved
from common.egress.policies import TargetPolicy
from common.egress.targets import judge_refusal, judge_unasked
from common.urls import Target, UrlRefusal

from gateway.plans.models import EgressPlan, EgressReason

Place = tuple[str, int]
"""A name and the port that its addresses are judged for."""


class EgressPlanner:
    """Judges for one policy. `names` looks names up for the same policy, within its own limits of time and threads."""

    def __init__(self, policy: TargetPolicy, *, names: NameLookup) -> None:
        self._policy = policy
        self._names = names

    async def judge(self, reads: Sequence[Target | UrlRefusal]) -> list[EgressPlan]:
        """One plan for each, in order. What needs a lookup is looked up all together, and once however often it is named."""
        found: dict[Place, asyncio.Task[EgressReason]] = {}
        async with asyncio.TaskGroup() as lookups:
            for read in reads:
                if isinstance(read, Target) and _place(read) not in found and judge_unasked(read, policy=self._policy) is None:
                    found[_place(read)] = lookups.create_task(self._look_up(*_place(read)))
        reasons = {place: lookup.result() for place, lookup in found.items()}
        return [self._plan(read, reasons) for read in reads]

    async def _look_up(self, name: str, port: int) -> EgressReason:
        try:
            answers = await self._names.answers(name, port)
        except NameUnresolved:
            return EgressReason.UNRESOLVED
        return EgressReason(answers.verdict)

    def _plan(self, read: Target | UrlRefusal, reasons: Mapping[Place, EgressReason]) -> EgressPlan:
        if isinstance(read, UrlRefusal):
            return EgressPlan(verdict="refuse", reason=EgressReason(judge_refusal(read)), detail=read.detail)
        verdict = judge_unasked(read, policy=self._policy)
        reason = EgressReason(verdict) if verdict is not None else reasons[_place(read)]
        return EgressPlan(verdict="refuse" if reason.is_refusal else "allow", reason=reason)


def _place(target: Target) -> Place:
    return target.name, target.port
