"""Promise fetches on behalf of a caller: the one way from every route that accepts fetches to the events stream."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from common.chassis.telemetry import Attributes, current_traceparent, message_attributes, step
from common.contracts.batches import AcceptedBatch
from common.contracts.fetches import AcceptedFetch
from common.streams.names import ACCEPTED_STREAM
from opentelemetry.trace import SpanKind

from gateway.dependencies import Means
from gateway.errors import IngestBacklog, QuotaExceeded, RecordsFull
from gateway.idempotency.keys import KeyedRequest
from gateway.metrics import Gate, KeyVerdict, Promised
from gateway.principal import Principal
from gateway.problems.answers import Problem
from gateway.promises.acceptance import Acceptance


async def charge(count: int, means: Means, principal: Principal) -> None:
    """Charge so many fetches to the caller's key, all or none. Raises QuotaExceeded and EventsUnavailable.

    Nothing gives them back when they cannot be accepted after that: a quota is of what is asked for.
    """
    try:
        await means.quotas.charge_fetches(principal, count)
    except QuotaExceeded as error:
        means.metrics.quota_refusals.labels(limit=error.limit).inc()
        raise


async def promise(
    fetches: Sequence[AcceptedFetch],
    means: Means,
    principal: Principal,
    *,
    is_charged: bool = False,
    batch: AcceptedBatch | None = None,
    idempotency: KeyedRequest | None = None,
    hold_seconds: float = 0.0,
    read_at: float | None = None,
) -> Acceptance:
    """Accept all of these or none; returns once they are on disk, with the id and time of the first of them.

    They are charged to the caller's key, unless they were. With `batch` they are its last ones, and it is promised too. With
    `idempotency` id and time are of an earlier try when it was promised these fetches. `hold_seconds` is for a request that goes
    on afterwards: until then, or until its record is settled, later tries are told that it is in flight. `read_at` is when all
    that the caller sent had been read, by `perf_counter`: just now unless said. Raises IngestBacklog, RecordsFull, QuotaExceeded
    and EventsUnavailable, and Problem when the Idempotency-Key stands in the way.
    """
    with _measured(means, perf_counter() if read_at is None else read_at):
        if not is_charged:
            await charge(len(fetches), means, principal)
        try:
            with step("fetch.promise", kind=SpanKind.PRODUCER, describe=lambda: _described(fetches)) as promising:
                acceptance = await means.publisher.publish(
                    fetches,
                    batch=batch,
                    traceparent=current_traceparent(),
                    queued_limit=principal.limits.queued_fetches,
                    idempotency=idempotency,
                    hold_seconds=hold_seconds,
                )
                if len(fetches) == 1 and promising.is_recording():
                    promising.set_attribute("fetchwork.fetch_id", str(acceptance.first.id))
        except IngestBacklog:
            means.metrics.note_gate(Gate.INGESTING, is_closed=True)
            raise
        except RecordsFull:
            means.metrics.note_key(KeyVerdict.REFUSED)
            raise
        except QuotaExceeded as error:
            means.metrics.quota_refusals.labels(limit=error.limit).inc()
            raise
        means.metrics.note_gate(Gate.INGESTING, is_closed=False)
        _admit(acceptance, means)
    if not acceptance.is_replay:
        means.metrics.accepted.inc(len(fetches))
    return acceptance


async def recall(idempotency: KeyedRequest, means: Means) -> Acceptance | None:
    """What an earlier try of the request was promised, or None. Raises EventsUnavailable and Problem as `promise` does."""
    acceptance = await means.publisher.recall(idempotency)
    if acceptance is not None:
        _admit(acceptance, means)
    return acceptance


def _described(fetches: Sequence[AcceptedFetch]) -> Attributes:
    """The span of a promise. The fetch of a batch has a trace of its own, which names its batch too."""
    attributes = message_attributes(ACCEPTED_STREAM, "send")
    attributes["messaging.batch.message_count"] = len(fetches)
    if fetches and fetches[0].batch_id is not None:
        attributes["fetchwork.batch_id"] = str(fetches[0].batch_id)
    return attributes


def _admit(acceptance: Acceptance, means: Means) -> None:
    """Count what came of the Idempotency-Key, and refuse where it stands for something else."""
    if acceptance.verdict is None:
        return
    means.metrics.note_key(acceptance.verdict)
    if acceptance.verdict in (KeyVerdict.REUSED, KeyVerdict.IN_FLIGHT):
        raise Problem.of_key(acceptance.verdict)


@contextmanager
def _measured(means: Means, began: float) -> Iterator[None]:
    """Note how long a promise took and what came of it. One that its caller gave up, by hanging up, is not noted."""

    def note(promised: Promised) -> None:
        means.metrics.note_promise(promised, seconds=perf_counter() - began)

    try:
        yield
    except (IngestBacklog, RecordsFull, QuotaExceeded, Problem):
        note(Promised.REFUSED)
        raise
    except Exception:
        note(Promised.FAILED)
        raise
    else:
        note(Promised.ACCEPTED)
