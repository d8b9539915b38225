"""What the SDK raises.

FetchworkError
├── GatewayUnreachable     no answer, or none that a gateway would give
│   └── NeverSent          and the gateway cannot have seen the request
├── WaitTimeout            we stopped waiting, the fetch goes on; carries how it was last seen
├── BatchWaitTimeout       the same of a batch
└── ProblemError           the gateway answered with a problem document (RFC 9457)
    ├── NotAuthorized      401 or 403
    └── NotFound           404
"""

from typing import Any

from fetchwork._batch_models import BatchProgress
from fetchwork._models import Fetch


class FetchworkError(Exception):
    """Base of everything that the SDK raises on purpose."""


class GatewayUnreachable(FetchworkError):
    """The gateway did not answer. It may have seen the request."""


class NeverSent(GatewayUnreachable):
    """No connection to the gateway came about."""


class WaitTimeout(FetchworkError):
    """The fetch was not finished in the time we had, and goes on. `fetch` is how it was last seen."""

    def __init__(self, fetch: Fetch) -> None:
        super().__init__(fetch)
        self.fetch = fetch

    def __str__(self) -> str:
        return f"fetch {self.fetch.id} is not finished yet"


class BatchWaitTimeout(FetchworkError):
    """The batch was not finished in the time we had, and goes on. `batch` is how it was last seen."""

    def __init__(self, batch: BatchProgress) -> None:
        super().__init__(batch)
        self.batch = batch

    def __str__(self) -> str:
        return f"batch {self.batch.id} is not finished yet"


class ProblemError(FetchworkError):
    """The gateway refused. The attributes are the members of its problem document, empty where it had none."""

    def __init__(self, status: int, document: dict[str, Any], retry_after_seconds: float | None = None) -> None:
        super().__init__(status, document, retry_after_seconds)
        self.status = status
        self.type = str(document.get("type") or "about:blank")
        self.title = str(document.get("title") or f"HTTP status {status}")
        self.detail = str(document.get("detail") or "")
        self.trace_id = str(document.get("trace_id") or "")
        self.errors: list[dict[str, Any]] = list(document.get("errors") or [])
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        faults = [f"{fault.get('pointer') or fault.get('parameter') or '#'}: {fault.get('detail', '')}" for fault in self.errors]
        trace = f" (trace {self.trace_id})" if self.trace_id else ""
        return "; ".join([": ".join(filter(None, (self.title, self.detail))), *faults]) + trace


class NotAuthorized(ProblemError):
    """The API key is missing, wrong, or not allowed to do this."""


class NotFound(ProblemError):
    """There is no such fetch, batch or key, or no content for it."""
