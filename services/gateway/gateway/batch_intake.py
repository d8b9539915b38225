"""Take a batch in while it arrives: lines become fetches, a bounded number is promised at a time, refused lines are noted."""

import asyncio
from collections.abc import Sequence

from common.contracts.batches import BATCH_ERRORS_KEPT, AcceptedBatch, BatchError
from common.contracts.fetches import AcceptedFetch

from gateway.batch_claims import BatchClaim
from gateway.batches.limits import BatchLimits
from gateway.batches.lines import read_submission, refuse_line
from gateway.batches.splitting import Line
from gateway.dependencies import Means
from gateway.errors import EventsUnavailable, IngestBacklog, QuotaExceeded
from gateway.metrics import LineResult
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType
from gateway.promise import charge, promise

CHUNK_LIMIT_BYTES = 1024 * 1024
"""Of lines that are promised together, at least: one entry of the stream is not much larger."""
SLICE_SECONDS = 0.005
"""How long lines are read before whoever else waits has a turn."""
NUMBER_LIMIT = 2**32 - 1
"""What an id can tell of a line's number."""
BACKLOG_REST_SECONDS = 0.05
"""How often a batch that has to wait looks whether there is room again."""


class BatchIntake:
    """One submission. Call `take` with each line and then `close`; or `break_off`: what was accepted stays accepted.

    Where nobody could say whether a chunk was accepted, more than `accepted` may be: `may_have_accepted`.
    """

    def __init__(self, claim: BatchClaim, *, principal: Principal, means: Means, limits: BatchLimits) -> None:
        self.errors: list[BatchError] = []
        self.accepted = 0
        self.rejected = 0
        self.may_have_accepted = False
        self._claim = claim
        self._reserved = claim.reserved
        self._principal = principal
        self._means = means
        self._limits = limits
        self._chunk: list[AcceptedFetch] = []
        self._numbers: list[int] = []
        self._chunk_bytes = 0
        self._chunk_limit = _chunk_limit(principal, limits)
        self._lines = 0
        self._slice_ends = 0.0

    async def take(self, line: Line) -> None:
        """Read one line, and promise what has gathered when that is enough.

        Raises Problem when there are too many lines, QuotaExceeded while nothing is accepted yet, IngestBacklog after
        `patience_seconds`, and EventsUnavailable.
        """
        await self._give_way()
        self._lines += 1
        if self._lines > self._limits.lines or line.number > NUMBER_LIMIT:
            raise Problem(ProblemType.BODY_TOO_LARGE, f"A batch may have {self._limits.lines} lines at most.")
        read = read_submission(line, limit_bytes=self._limits.line_bytes, now=self._means.clock())
        if isinstance(read, BatchError):
            self._refuse(read)
            return
        submission, host = read
        principal = self._principal
        content = line.content or b""
        self._numbers.append(line.number)
        self._chunk_bytes += len(content)
        self._chunk.append(
            AcceptedFetch(
                id=self._reserved.nth(line.number, content),
                host=host,
                accepted_at=self._reserved.at,
                request=submission,
                tenant=principal.tenant,
                key_id=principal.key_id,
                batch_id=self._reserved.id,
                labels=tuple(submission.labels),
                attrs=submission.attrs,
            )
        )
        if len(self._chunk) >= self._chunk_limit or self._chunk_bytes >= CHUNK_LIMIT_BYTES:
            await self._promise_chunk()

    async def close(self) -> None:
        """Promise the rest, and that the batch is whole. Raises what `take` raises."""
        await self._promise_chunk()
        await self._publish((), batch=self._batch(is_whole=True))

    async def break_off(self) -> None:
        """Note that the submission ended early. Raises EventsUnavailable; what was accepted is fetched all the same."""
        if self.accepted:
            await self._publish((), batch=self._batch(is_whole=False))

    async def _promise_chunk(self) -> None:
        chunk, numbers, self._chunk, self._numbers, self._chunk_bytes = self._chunk, self._numbers, [], [], 0
        if not chunk:
            return
        try:
            await charge(len(chunk), self._means, self._principal)
            await self._publish(chunk, batch=None)
        except QuotaExceeded as error:
            if not self.accepted:
                raise
            for number in numbers:
                self._refuse(refuse_line(number, ProblemType.QUOTA_EXCEEDED, error.detail))
            self.errors.sort(key=lambda error: error.line)
        else:
            self.accepted += len(chunk)
            self._means.metrics.note_lines(LineResult.ACCEPTED, len(chunk))
            await self._claim.check()

    async def _publish(self, fetches: Sequence[AcceptedFetch], *, batch: AcceptedBatch | None) -> None:
        """Wait for room as long as may be: while we wait nobody reads the request, and its sender waits too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.patience_seconds
        while True:
            try:
                await promise(fetches, self._means, self._principal, is_charged=True, batch=batch)
            except IngestBacklog:
                if loop.time() >= deadline:
                    raise
                await self._claim.check()
                await asyncio.sleep(BACKLOG_REST_SECONDS)
            except EventsUnavailable:
                self.may_have_accepted = True
                raise
            else:
                self.may_have_accepted = True
                return

    async def _give_way(self) -> None:
        """What has arrived is read without waiting for anything: thousands of lines would keep everybody else waiting."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = clock() + SLICE_SECONDS

    def _refuse(self, error: BatchError) -> None:
        self.rejected += 1
        self._means.metrics.note_lines(LineResult.REJECTED)
        if len(self.errors) < self._limits.errors:
            self.errors.append(error)

    def _batch(self, *, is_whole: bool) -> AcceptedBatch:
        return AcceptedBatch(
            id=self._reserved.id,
            tenant=self._principal.tenant,
            key_id=self._principal.key_id,
            accepted_at=self._reserved.at,
            accepted=self.accepted,
            rejected=self.rejected,
            errors=tuple(self.errors[:BATCH_ERRORS_KEPT]),
            is_whole=is_whole,
        )


def _chunk_limit(principal: Principal, limits: BatchLimits) -> int:
    """How many fetches are promised together, all or none: no more than the caller's key may have at once."""
    quotas = (principal.limits.fetches_per_minute, principal.limits.queued_fetches)
    return min([limits.chunk_fetches, *(quota for quota in quotas if quota is not None)])
