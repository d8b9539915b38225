"""The story of one attempt: exchange, read the body, judge.

Knows nothing of Celery, Redis or the store. Returns an outcome for anything a remote host can do to us; raises only for our
own faults.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from common.clock import Clock, utc_now
from common.contracts.fetches import ErrorType, FetchError, Outcome, PerformFetch, ResponseHead

from fetcher.body import check_declared_length, pack_body, read_body
from fetcher.egress.client import EgressClient
from fetcher.egress.evidence import EvidenceLog
from fetcher.errors import ExchangeFailed
from fetcher.judge import judge_failure, judge_response

REPORT_MARGIN_SECONDS = 1.0
"""Kept free at the end of a lease, so that the outcome can still be published inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """The judged outcome, the host it is about, and the compressed body that it refers to, if any."""

    outcome: Outcome
    host: str | None = None
    body: bytes | None = None


async def perform(command: PerformFetch, *, client: EgressClient, clock: Clock = utc_now) -> Attempted:
    """Make one attempt, within its own timeout and well within its lease."""
    log = EvidenceLog()
    try:
        async with asyncio.timeout(_seconds_allowed(command, now=clock())):
            head, content = await _fetch(command, client=client, log=log)
    except ExchangeFailed as failed:
        return _failed(failed.error, log=log)
    except TimeoutError:
        return _failed(FetchError(type=ErrorType.TIMEOUT, detail="The fetch did not finish within its timeout."), log=log)
    evidence = log.evidence()
    packed = await pack_body(content)
    if packed is None:
        return Attempted(outcome=judge_response(head, body=None, evidence=evidence, now=clock()), host=log.host)
    outcome = judge_response(head, body=packed.reference, evidence=evidence, now=clock())
    return Attempted(outcome=outcome, host=log.host, body=packed.data)


async def _fetch(command: PerformFetch, *, client: EgressClient, log: EvidenceLog) -> tuple[ResponseHead, bytearray]:
    request = command.request
    async with client.exchange(request, log=log) as exchange:
        check_declared_length(exchange.length, coding=exchange.coding, limit_bytes=request.max_bytes)
        content = await read_body(exchange.chunks, coding=exchange.coding, limit_bytes=request.max_bytes)
        log.decoded_bytes = len(content)
        return exchange.head, content


def _seconds_allowed(command: PerformFetch, *, now: datetime) -> float:
    left = (command.lease_ends_at - now).total_seconds()
    return min(command.request.timeout_seconds, max(left - REPORT_MARGIN_SECONDS, left / 2))


def _failed(error: FetchError, *, log: EvidenceLog) -> Attempted:
    return Attempted(outcome=judge_failure(error, evidence=log.evidence()), host=log.host)
