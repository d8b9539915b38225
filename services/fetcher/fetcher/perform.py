"""The story of one attempt: admit, exchange, read the body, judge.

Knows nothing of Celery, Redis or the store. Returns an outcome for anything a remote host can do to us; raises only for our
own faults.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from common.clock import Clock, utc_now
from common.contracts.fetches import (
    Budget,
    ErrorType,
    Outcome,
    PerformFetch,
    ResponseHead,
    RobotsEvidence,
    RobotsVerdict,
)
from common.urls import Target

from fetcher.body import check_declared_length, pack_body, read_body
from fetcher.codings import plain_name
from fetcher.egress.client import Admit, EgressClient, Exchange
from fetcher.egress.evidence import EvidenceLog
from fetcher.egress.headers import first_value
from fetcher.errors import ExchangeFailed
from fetcher.judge import judge_failure, judge_response, judge_revalidation
from fetcher.text_facts import read_text_facts

REPORT_MARGIN_SECONDS = 1.0
"""Kept free at the end of a lease, so that the outcome can still be published inside it."""
QUOTE_LIMIT_CHARACTERS = 200


class Gate(Protocol):
    """Says whether a host's robots.txt lets a URL be fetched."""

    async def check(self, target: Target, *, log: EvidenceLog) -> RobotsEvidence:
        """The verdict and its reason. Raises ExchangeFailed when robots.txt could not be asked for at all."""

    def asked_again_at(self, target: Target) -> datetime | None:
        """When an unreachable robots.txt is asked for again, None when that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """The judged outcome, the host it is about, and the compressed body that it refers to, if any."""

    outcome: Outcome
    host: str | None = None
    body: bytes | None = None


async def perform(
    command: PerformFetch, *, client: EgressClient, robots: Gate | None = None, clock: Clock = utc_now
) -> Attempted:
    """Make one attempt, within its own timeout and well within its lease. Without a gate robots.txt is not asked."""
    request, log = command.request, EvidenceLog()
    admit = _admit_by(robots if request.robots == "obey" else None, log=log)
    try:
        try:
            async with asyncio.timeout(_seconds_allowed(command, now=clock())):
                async with client.exchange(request, log=log, validators=command.validators, admit=admit) as exchange:
                    head, content = await _read(exchange, command=command, client=client, log=log)
        except TimeoutError as error:
            detail = "The fetch did not finish within its timeout."
            raise ExchangeFailed(ErrorType.TIMEOUT, detail, exceeded=Budget.TOTAL) from error
    except ExchangeFailed as failed:
        evidence = log.failed_evidence(exceeded=failed.exceeded)
        outcome = judge_failure(
            failed.error, evidence=evidence, passes_at=failed.passes_at, is_idempotent=request.is_idempotent
        )
        return Attempted(outcome=outcome, host=log.host)
    evidence = log.evidence()
    if exchange.is_revalidation:
        return Attempted(outcome=judge_revalidation(head, evidence=evidence), host=log.host)
    packed = await pack_body(content)
    outcome = judge_response(
        head,
        body=packed.reference if packed else None,
        evidence=evidence,
        now=clock(),
        is_idempotent=request.is_idempotent,
    )
    return Attempted(outcome=outcome, host=log.host, body=packed.data if packed else None)


async def _read(
    exchange: Exchange, *, command: PerformFetch, client: EgressClient, log: EvidenceLog
) -> tuple[ResponseHead, bytearray]:
    limit_bytes, coding, budgets = command.request.max_bytes, exchange.coding, client.budgets
    check_declared_length(exchange.length, coding=coding, limit_bytes=limit_bytes, budgets=budgets)
    content = await read_body(exchange.chunks, coding=coding, limit_bytes=limit_bytes, tally=log, budgets=budgets)
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


def _admit_by(robots: Gate | None, *, log: EvidenceLog) -> Admit | None:
    """What asks before each hop; None when nobody is to be asked."""
    if robots is None:
        log.robots = RobotsEvidence(verdict=RobotsVerdict.IGNORED)
        return None

    async def admit(target: Target) -> None:
        log.robots = await robots.check(target, log=log)
        if not log.robots.verdict.is_allowed:
            raise _refused_by_robots(log.robots, again_at=robots.asked_again_at(target))

    return admit


def _refused_by_robots(evidence: RobotsEvidence, *, again_at: datetime | None) -> ExchangeFailed:
    if evidence.verdict is RobotsVerdict.UNREACHABLE:
        answer = f"answered {evidence.status}" if evidence.status else "could not be read"
        detail = f"The host's robots.txt {answer}, so nothing may be fetched until it can be read."
        return ExchangeFailed(ErrorType.REFUSED_ROBOTS, detail, passes_at=again_at)
    line = (evidence.line or "")[:QUOTE_LIMIT_CHARACTERS]
    return ExchangeFailed(ErrorType.REFUSED_ROBOTS, f"The host's robots.txt disallows this URL: {line}")


def _seconds_allowed(command: PerformFetch, *, now: datetime) -> float:
    left = (command.lease_ends_at - now).total_seconds()
    return min(command.request.timeout_seconds, max(left - REPORT_MARGIN_SECONDS, left / 2))
