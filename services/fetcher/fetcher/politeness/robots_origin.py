"""Ask an origin for its robots.txt, through the guarded client, and read its answer as RFC 9309 section 2.3.1 tells.

What is answered becomes a RobotsFile. A network failure stays an ExchangeFailed: the page would meet the same.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.contracts.fetches import ErrorType, FetchRequest
from common.contracts.robots import ROBOTS_LIMIT_BYTES, RobotsAvailability, RobotsFile
from common.robots.rules import read_text

from fetcher.body import SLICE_BYTES
from fetcher.codings import open_decoder
from fetcher.egress.client import EgressClient, Exchange
from fetcher.egress.evidence import EvidenceLog, HopRecord
from fetcher.egress.headers import first_value
from fetcher.errors import ExchangeFailed
from fetcher.judge import read_retry_after

LOOKUP_LIMIT_SECONDS = 15.0
"""For one robots.txt over all its redirects; half of what a fetch has by default, so that time is left for the page."""
FRESH_SECONDS = 24 * 3600.0  # RFC 9309 section 2.4: at most
FRESH_FLOOR_SECONDS = 600.0
"""`max-age` may shorten a day, but not so far that every fetch becomes two."""
RETRY_FIRST = timedelta(minutes=1)
RETRY_LIMIT = timedelta(hours=1)
WIRE_LIMIT_BYTES = 2 * ROBOTS_LIMIT_BYTES
"""A compressed body may be all overhead, and never get to the limit of what it decodes to."""

_SLOW_DOWN = 429
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})\"?\s*(?:,|$)", re.IGNORECASE)
_NETWORK_ERRORS = frozenset(
    {ErrorType.DNS, ErrorType.CONNECT, ErrorType.TLS, ErrorType.TIMEOUT, ErrorType.PROTOCOL, ErrorType.INTERNAL}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of asking: the file as the origin answered, or the failure of the network; and the hops of a failed exchange."""

    answer: RobotsFile | ExchangeFailed
    failed_hops: tuple[HopRecord, ...] = ()


async def ask_origin(
    client: EgressClient, origin: str, *, now: datetime, seconds: float = LOOKUP_LIMIT_SECONDS, waited: timedelta | None = None
) -> Asked:
    """Fetch `/robots.txt` within `seconds`. `waited` is how long an unreachable one was last left alone.

    Never raises ExchangeFailed. Redirects lead anywhere that the client may go (section 2.3.1.2); what is found there speaks
    for this origin.
    """
    log = EvidenceLog()
    try:
        async with asyncio.timeout(seconds):
            return Asked(answer=await _exchange(client, origin, log=log, now=now, waited=waited))
    except TimeoutError:
        failure = ExchangeFailed(ErrorType.TIMEOUT, "The host's robots.txt did not come in time.")
        return Asked(answer=failure, failed_hops=tuple(log.hops))
    except ExchangeFailed as failed:
        return _judge_failure(failed, origin=origin, log=log, now=now, waited=waited)


async def _exchange(
    client: EgressClient, origin: str, *, log: EvidenceLog, now: datetime, waited: timedelta | None
) -> RobotsFile:
    request = FetchRequest(url=f"{origin}/robots.txt", max_bytes=ROBOTS_LIMIT_BYTES, robots="ignore")
    async with client.exchange(request, log=log) as exchange:
        status, headers = exchange.head.status, exchange.head.headers
        if 200 <= status < 300:
            text = read_text(await _read_start(exchange))
            return _answered(RobotsAvailability.FOUND, origin, status=status, headers=headers, now=now, text=text)
        if status >= 500 or status == _SLOW_DOWN:
            return _unreachable(origin, now=now, waited=waited, status=status, not_before=read_retry_after(headers, now=now))
        return _answered(RobotsAvailability.UNAVAILABLE, origin, status=status, headers=headers, now=now)


def _unreachable(
    origin: str, *, now: datetime, waited: timedelta | None, status: int | None, not_before: datetime | None = None
) -> RobotsFile:
    """A file that could not be had, and when to ask for it again: after a minute, then twice as late each time.

    Later when the origin says so in `not_before`, but always within the hour.
    """
    wait = max(2 * waited, RETRY_FIRST) if waited is not None else RETRY_FIRST
    return RobotsFile(
        origin=origin,
        availability=RobotsAvailability.UNREACHABLE,
        status=status,
        fetched_at=now,
        expires_at=min(max(now + wait, not_before or now), now + RETRY_LIMIT),
    )


def _answered(
    availability: RobotsAvailability,
    origin: str,
    *,
    status: int | None,
    now: datetime,
    headers: Iterable[tuple[str, str]] = (),
    text: str = "",
) -> RobotsFile:
    """A file that binds, or none that would: good for a day, for less when `max-age` says so."""
    declared = _MAX_AGE.search(first_value(headers, "cache-control") or "")
    seconds = max(min(float(declared[1]), FRESH_SECONDS), FRESH_FLOOR_SECONDS) if declared else FRESH_SECONDS
    return RobotsFile(
        origin=origin,
        availability=availability,
        status=status,
        text=text,
        fetched_at=now,
        expires_at=now + timedelta(seconds=seconds),
    )


def _judge_failure(
    failed: ExchangeFailed, *, origin: str, log: EvidenceLog, now: datetime, waited: timedelta | None
) -> Asked:
    hops, status = tuple(log.hops), next((hop.status for hop in reversed(log.hops) if hop.status), None)
    if failed.error.type is ErrorType.TOO_MANY_REDIRECTS:  # section 2.3.1.2: may be assumed unavailable
        return Asked(answer=_answered(RobotsAvailability.UNAVAILABLE, origin, status=status, now=now))
    if failed.error.type in _NETWORK_ERRORS or len(hops) == 1 and hops[0].verdict.is_denial:
        return Asked(answer=failed, failed_hops=hops)
    return Asked(answer=_unreachable(origin, now=now, waited=waited, status=status), failed_hops=hops)


async def _read_start(exchange: Exchange) -> bytes:
    """The decoded body, of a longer one a little more than is read; the rest stays on the wire."""
    decoder, start, wire_bytes = None, bytearray(), 0
    async for chunk in exchange.chunks:
        decoder = decoder or open_decoder(exchange.coding)
        for offset in range(0, len(chunk), SLICE_BYTES):
            pending = chunk[offset : offset + SLICE_BYTES]
            wire_bytes += len(pending)
            while True:
                start += decoder.feed(pending, ROBOTS_LIMIT_BYTES + 1 - len(start))
                if len(start) > ROBOTS_LIMIT_BYTES or wire_bytes > WIRE_LIMIT_BYTES:
                    return bytes(start)
                if decoder.needs_input:
                    break
                pending = b""
                await asyncio.sleep(0)  # a flood of empty members would hold the loop for long
    if decoder is not None:
        decoder.finish()
    return bytes(start)
