"""Take a batch in while it arrives: lines become fetches, a bounded number is promised at a time, refused lines are noted."""

import asyncio
from collections.abc import Sequence

from common.contracts.batches import BATCH_ERRORS_KEPT, AcceptedBatch, BatchError
from common.contracts.fetches import AcceptedFetch

from gateway.batch_claims import BatchClaim
from gateway.batch_limits import BatchLimits
from gateway.batch_lines import read_submission, refuse_line
from gateway.dependencies import Means
from gateway.errors import IngestBacklog, QuotaExceeded
from gateway.lines import Line
from gateway.principal import Principal
from gateway.problems import Problem, ProblemType
from gateway.promise import charge, promise

NUMBER_LIMIT = 2**32 - 1
"""What an id can tell of a line's number."""
BACKLOG_REST_SECONDS = 0.05
"""How often a batch that has to wait looks whether there is room again."""


class BatchIntake:
    """One submission. Call `take` with each line and then `close`; or `break_off`: what was accepted stays accepted."""

    def __init__(self, claim: BatchClaim, *, principal: Principal, means: Means, limits: BatchLimits) -> None:
        self.errors: list[BatchError] = []
        self.accepted = 0
        self.rejected = 0
        self._claim = claim
        self._reserved = claim.reserved
        self._principal = principal
        self._means = means
        self._limits = limits
        self._chunk: list[AcceptedFetch] = []
        self._numbers: list[int] = []
        self._lines = 0

    async def take(self, line: Line) -> None:
        """Read one line, and promise what has gathered when that is enough.

        Raises Problem when there are too many lines, QuotaExceeded while nothing is accepted yet, IngestBacklog after
        `patience_seconds`, and EventsUnavailable.
        """
        self._lines += 1
        if self._lines > self._limits.lines or line.number > NUMBER_LIMIT:
            raise Problem(ProblemType.BODY_TOO_LARGE, f"A batch may have {self._limits.lines} lines at most.")
        read = read_submission(line, limit_bytes=self._limits.line_bytes, now=self._means.clock())
        if isinstance(read, BatchError):
            self._refuse(read)
            return
        submission, host = read
        principal = self._principal
        self._numbers.append(line.number)
        self._chunk.append(
            AcceptedFetch(
                id=self._reserved.nth(line.number),
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
        if len(self._chunk) >= self._limits.chunk_fetches:
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
        chunk, numbers, self._chunk, self._numbers = self._chunk, self._numbers, [], []
        if not chunk:
            return
        try:
            await charge(len(chunk), self._means, self._principal)
            await self._publish(chunk, batch=None)
            await self._claim.renew()
        except QuotaExceeded as error:
            if not self.accepted:
                raise
            for number in numbers:
                self._refuse(refuse_line(number, ProblemType.QUOTA_EXCEEDED, error.detail))
        else:
            self.accepted += len(chunk)

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
                await self._claim.renew()
                await asyncio.sleep(BACKLOG_REST_SECONDS)
            else:
                return

    def _refuse(self, error: BatchError) -> None:
        self.rejected += 1
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
