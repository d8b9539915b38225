"""The story of one attempt: admit, exchange, read the body, judge.

Knows nothing of Celery, Redis or the store. Returns an outcome for anything a remote host can do to us; raises only for our
own faults.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from common.clock import Clock, utc_now
from common.contracts.fetches import (
    BodyReference,
    Budget,
    ErrorType,
    FetchRequest,
    Outcome,
    OutcomeKind,
    PerformFetch,
    ResponseHead,
)

from fetcher.body import check_declared_length, pack_body, read_body
from fetcher.codings import plain_name
from fetcher.cohorts import fall_in
from fetcher.egress.client import EgressClient, Exchange
from fetcher.egress.evidence import EvidenceLog
from fetcher.egress.headers import first_value
from fetcher.errors import AttemptSnoozed, ExchangeFailed
from fetcher.judge import judge_failure, judge_response, judge_revalidation
from fetcher.large_bodies import Place
from fetcher.politeness.admission import Admission, Gate
from fetcher.politeness.pace import Pace
from fetcher.politeness.slowdowns import host_of
from fetcher.text_facts import read_text_facts

REPORT_MARGIN_SECONDS = 1.0
"""Kept free at the end of a lease, so that the outcome can still be published inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """The judged outcome, the host it is about, and the compressed body that it refers to, if any.

    `finished_at` is when the last exchange was over; judging and packing come after.
    """

    outcome: Outcome
    finished_at: datetime
    host: str | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    head: ResponseHead
    content: bytearray
    is_revalidation: bool
    is_postponed: bool


async def perform(
    command: PerformFetch,
    *,
    client: EgressClient,
    robots: Gate | None = None,
    clock: Clock = utc_now,
    pace: Pace | None = None,
    place: Place | None = None,
) -> Attempted:
    """Make one attempt, within its own timeout and well within its lease. Without a gate robots.txt is not asked.

    A large body waits for its `place`, which the caller gives back. `pace` is that of the train, and goes on from attempt to
    attempt: it is kept within this one, and told of its exchanges.
    """
    request, log = command.request, EvidenceLog()
    pace = pace or Pace(host_of(request.url))
    gate = robots if request.robots == "obey" else None
    ended: _Received | ExchangeFailed | AttemptSnoozed
    try:
        ended = await _receive(command, client=client, gate=gate, pace=pace, place=place, log=log, clock=clock)
    except (ExchangeFailed, AttemptSnoozed) as error:
        ended = error
    finally:
        finished_at = clock()
        pace.finish()
    await fall_in()
    body = await pack_body(ended.content) if isinstance(ended, _Received) and not ended.is_revalidation else None
    outcome = _judge(ended, body.reference if body else None, log=log, now=finished_at, request=request)
    return Attempted(outcome=outcome, finished_at=finished_at, host=log.host, body=body.data if body else None)


def _judge(
    ended: _Received | ExchangeFailed | AttemptSnoozed,
    body: BodyReference | None,
    *,
    log: EvidenceLog,
    now: datetime,
    request: FetchRequest,
) -> Outcome:
    if isinstance(ended, ExchangeFailed):
        evidence = log.failed_evidence(exceeded=ended.exceeded)
        return judge_failure(ended.error, evidence=evidence, passes_at=ended.passes_at, is_idempotent=request.is_idempotent)
    evidence = log.evidence()
    if isinstance(ended, AttemptSnoozed):
        return Outcome(kind=OutcomeKind.SNOOZED, not_before=ended.until, evidence=evidence)
    if ended.is_revalidation:
        return judge_revalidation(ended.head, evidence=evidence)
    return judge_response(
        ended.head,
        body=body,
        evidence=evidence,
        now=now,
        is_idempotent=request.is_idempotent,
        is_postponed=ended.is_postponed,
    )


async def _receive(
    command: PerformFetch,
    *,
    client: EgressClient,
    gate: Gate | None,
    pace: Pace,
    place: Place | None,
    log: EvidenceLog,
    clock: Clock,
) -> _Received:
    lease_seconds = _seconds_of_lease(command, now=clock())
    try:
        async with asyncio.timeout(min(command.request.timeout_seconds, lease_seconds)) as deadline:
            ends_at = asyncio.get_running_loop().time() + lease_seconds
            admission = Admission(
                command, robots=gate, pace=pace, log=log, deadline=deadline, ends_at=ends_at, clock=clock
            )
            async with client.exchange(
                command.request,
                log=log,
                validators=command.validators,
                admit=admission.admit,
                may_follow=admission.may_follow,
            ) as exchange:
                head, content = await _read(exchange, command=command, client=client, place=place, log=log)
    except TimeoutError as error:
        if place is not None and place.is_awaited:
            detail = "The fetcher had no room for a body of this size in time; this is not the host's fault."
            raise ExchangeFailed(ErrorType.INTERNAL, detail, exceeded=Budget.TOTAL) from error
        detail = "The fetch did not finish within its timeout."
        raise ExchangeFailed(ErrorType.TIMEOUT, detail, exceeded=Budget.TOTAL) from error
    return _Received(
        head=head, content=content, is_revalidation=exchange.is_revalidation, is_postponed=admission.is_postponed
    )


async def _read(
    exchange: Exchange, *, command: PerformFetch, client: EgressClient, place: Place | None, log: EvidenceLog
) -> tuple[ResponseHead, bytearray]:
    limit_bytes, coding, budgets = command.request.max_bytes, exchange.coding, client.budgets
    check_declared_length(exchange.length, coding=coding, limit_bytes=limit_bytes, budgets=budgets)
    content = await read_body(
        exchange.chunks, coding=coding, limit_bytes=limit_bytes, tally=log, budgets=budgets, place=place
    )
    if not content:
        return exchange.head, content
    facts = await read_text_facts(content, content_type=first_value(exchange.head.headers, "content-type"))
    described = {
        "coding": plain_name(coding),
        "detected_media_type": facts.media_type,
        "charset": facts.charset,
        "charset_source": facts.charset_source,
    }
    return exchange.head.model_copy(update=described), content


def _seconds_of_lease(command: PerformFetch, *, now: datetime) -> float:
    left = (command.lease_ends_at - now).total_seconds()
    return max(left - REPORT_MARGIN_SECONDS, left / 2)
