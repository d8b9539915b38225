"""Every metric of the gateway, in one registry that the composition root owns."""

from collections.abc import Sequence
from enum import StrEnum

from common.chassis.lifecycle import Pass
from common.chassis.metrics import ChassisMetrics, LoopMetrics
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.errors import Limit
from gateway.problems.types import ProblemType

REQUEST_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ACCEPT_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10)
"""With an edge at what is promised to callers, 0.3 s."""
DEPENDENCIES = ("events", "store")
POOLS = ("promises", "counters", "feed")
LOOPS = ("key_use",)


class Promised(StrEnum):
    """What came of asking for a promise. The value is a metric label.

    `refused` is at a limit, or because of the Idempotency-Key; `failed` is ours: nobody could promise anything.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


class LineResult(StrEnum):
    """What came of a line of a batch. The value is a metric label."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class StoreOperation(StrEnum):
    """What the gateway asks the store for. The value is a metric label."""

    READ = "read"
    LIST = "list"
    WRITE = "write"
    KEYS = "keys"
    """What every gateway asks in the background: which keys there are, and which were used."""
    PLAN = "plan"
    CONTENT = "content"


class StoreResult(StrEnum):
    """What came of asking the store. The value is a metric label.

    `unavailable` is no answer in time, or none that is whole; `refused` an answer that nobody expected.
    """

    OK = "ok"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


class Gate(StrEnum):
    """Where the gateway refuses what is too much. The value is a metric label."""

    INGESTING = "ingesting"
    REQUESTS = "requests"
    FEED_CLIENTS = "feed_clients"
    WAITS = "waits"
    BATCHES = "batches"
    KEY_LOOKUPS = "key_lookups"


class FeedSource(StrEnum):
    """Where a page of the feed came from. The value is a metric label."""

    RING = "ring"
    HISTORY = "history"


class StreamEnd(StrEnum):
    """Why a stream of events ended. The value is a metric label."""

    CLIENT = "client"
    SLOW = "slow"
    KEY = "key"
    SHUTDOWN = "shutdown"


class KeyVerdict(StrEnum):
    """What came of a request with an Idempotency-Key. The value is a metric label, and what our Lua scripts say.

    `shortened` is a new one that is remembered for less long, because there are many; `resumed` one whose first try ended
    without an answer.
    """

    NEW = "new"
    SHORTENED = "shortened"
    RESUMED = "resumed"
    REPLAYED = "replayed"
    REUSED = "reused"
    IN_FLIGHT = "in_flight"
    REFUSED = "refused"


class AnswerKept(StrEnum):
    """Whether an answer was kept for replays, or why not. The value is a metric label."""

    DONE = "done"
    LOST = "lost"
    OVER_BUDGET = "over_budget"
    TOO_LARGE = "too_large"


class KeyRefusal(StrEnum):
    """Why a key was refused: for operators alone, callers are told nothing of it. The value is a metric label."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG = "wrong"
    REVOKED = "revoked"
    EXPIRED = "expired"


class GatewayMetrics:
    """Rate, errors and duration of requests, the promises made, and the limits kept; names start with `fetchwork_`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.chassis = ChassisMetrics(registry, service="gateway", dependencies=DEPENDENCIES, pools=POOLS)
        self.loops = LoopMetrics(registry)
        self.loops.expect(*LOOPS)
        self.accepted = Counter("fetchwork_fetches_accepted_total", "Fetches answered with 202.", registry=registry)
        self.requests = Counter(
            "fetchwork_http_requests_total", "Requests answered.", ["method", "route", "status_class"], registry=registry
        )
        self.request_seconds = Histogram(
            "fetchwork_http_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=REQUEST_BUCKETS_SECONDS,
            registry=registry,
        )
        self.in_progress = Gauge("fetchwork_http_requests_in_progress", "Requests under way.", registry=registry)
        self.limits = self.chassis.limit
        self._closed = Gauge(
            "fetchwork_gate_closed", "1 from a refusal on until something is let in again, else 0.", ["gate"], registry=registry
        )
        self._refusing: set[Gate] = set()
        self._refused = Counter("fetchwork_gate_refusals_total", "Requests refused at a limit.", ["gate"], registry=registry)
        self.quota_refusals = Counter(
            "fetchwork_quota_refusals_total", "Requests refused because their key used up a limit.", ["limit"], registry=registry
        )
        self.quota_uncounted = Counter(
            "fetchwork_quota_uncounted_total",
            "Reads of limited keys let through uncounted, because the events Redis did not answer.",
            registry=registry,
        )
        for limit in Limit:
            self.quota_refusals.labels(limit=limit)
        self._keys = Counter(
            "fetchwork_idempotency_claims_total",
            "Requests with an Idempotency-Key, by what came of it.",
            ["result"],
            registry=registry,
        )
        self._answers = Counter(
            "fetchwork_idempotency_answers_total",
            "Answers to such requests, by whether they were kept for replays.",
            ["result"],
            registry=registry,
        )
        for verdict in KeyVerdict:
            self._keys.labels(result=verdict)
        for kept in AnswerKept:
            self._answers.labels(result=kept)
        self._add_feed(registry)
        self.planned = Counter(
            "fetchwork_planned_urls_total", "URLs in plans, by what egress would do and why.", ["reason"], registry=registry
        )
        for gate in Gate:
            self._closed.labels(gate=gate)
            self._refused.labels(gate=gate)
        self._add_keys(registry)
        self._add_promises(registry)
        self._add_traffic(registry)
        self._add_store(registry)

    def _add_promises(self, registry: CollectorRegistry) -> None:
        self._accept_seconds = Histogram(
            "fetchwork_accept_duration_seconds",
            "From the whole request, or chunk of a batch, being read to its promise being on disk; no wait for a finish.",
            ["result"],
            buckets=ACCEPT_BUCKETS_SECONDS,
            registry=registry,
        )
        self._batch_lines = Counter(
            "fetchwork_batch_lines_total", "Lines of batches, by what came of them.", ["result"], registry=registry
        )
        for promised in Promised:
            self._accept_seconds.labels(result=promised)
        for result in LineResult:
            self._batch_lines.labels(result=result)

    def _add_traffic(self, registry: CollectorRegistry) -> None:
        self.problems = Counter("fetchwork_problems_total", "Problem documents sent.", ["type"], registry=registry)
        self.request_bytes = Counter("fetchwork_http_request_bytes_total", "Bytes of bodies read.", registry=registry)
        self.response_bytes = Counter("fetchwork_http_response_bytes_total", "Bytes of bodies sent.", registry=registry)
        for type in ProblemType:
            self.problems.labels(type=type)

    def _add_store(self, registry: CollectorRegistry) -> None:
        """What the store answers to this gateway."""
        self._store_requests = Counter(
            "fetchwork_store_requests_total", "Requests to the store's internal API.", ["operation", "result"], registry=registry
        )
        self._store_seconds = Histogram(
            "fetchwork_store_request_duration_seconds",
            "From asking the store to its whole answer, or to giving up.",
            ["operation"],
            buckets=REQUEST_BUCKETS_SECONDS,
            registry=registry,
        )
        for operation in StoreOperation:
            self._store_seconds.labels(operation=operation)
            for result in StoreResult:
                self._store_requests.labels(operation=operation, result=result)

    def note_promise(self, promised: Promised, *, seconds: float) -> None:
        """One event was promised, or was not."""
        self._accept_seconds.labels(result=promised).observe(seconds)

    def note_lines(self, result: LineResult, count: int = 1) -> None:
        """So many lines of a batch were accepted or rejected."""
        self._batch_lines.labels(result=result).inc(count)

    def note_store(self, operation: StoreOperation, result: StoreResult, *, seconds: float) -> None:
        """The store was asked once, with all tries."""
        self._store_requests.labels(operation=operation, result=result).inc()
        self._store_seconds.labels(operation=operation).observe(seconds)

    def note_pass(self, done: Pass) -> None:
        """One pass of a loop of keys is over."""
        self.loops.note(done)
        if not done.is_ok:
            self.note_key_failure(done.loop)

    def _add_keys(self, registry: CollectorRegistry) -> None:
        """What is known of API keys, and which are refused."""
        self.keys_known = Gauge("fetchwork_keys_known", "API keys in memory, revoked ones too.", registry=registry)
        self.keys_age_seconds = Gauge(
            "fetchwork_keys_age_seconds", "How old is what we know of API keys; infinite until all were read.", registry=registry
        )
        self.key_failures = Counter(
            "fetchwork_key_failures_total",
            "Readings of keys, and reports of their use, that failed.",
            ["loop"],
            registry=registry,
        )
        self.refused_keys = Counter(
            "fetchwork_keys_refused_total", "Requests answered 401, by what was wrong with it.", ["reason"], registry=registry
        )
        for loop in ("key_ring", "key_use"):
            self.key_failures.labels(loop=loop)
        for reason in KeyRefusal:
            self.refused_keys.labels(reason=reason)

    def note_key_failure(self, loop: str) -> None:
        """A reading of keys or a report of their use failed."""
        self.key_failures.labels(loop=loop).inc()

    def _add_feed(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge(
            "fetchwork_requests_waiting", "Requests that stream or wait, by their room.", ["room"], registry=registry
        )
        self.feed_entries_sent = Counter("fetchwork_feed_entries_sent_total", "Entries sent to clients.", registry=registry)
        self.feed_pages = Counter(
            "fetchwork_feed_pages_total", "Pages looked at for clients, from memory or from Redis.", ["source"], registry=registry
        )
        self.feed_gaps = Counter("fetchwork_feed_gaps_total", "Clients told that entries are kept no more.", registry=registry)
        self.feed_ring_bytes = Gauge("fetchwork_feed_ring_bytes", "Events of the feed kept in memory.", registry=registry)
        self.feed_failures = Counter("fetchwork_feed_failures_total", "Reads of the feed that failed.", registry=registry)
        self.stream_ends = Counter(
            "fetchwork_feed_streams_ended_total", "Streams that ended, by why.", ["reason"], registry=registry
        )
        for source in FeedSource:
            self.feed_pages.labels(source=source)
        for reason in StreamEnd:
            self.stream_ends.labels(reason=reason)

    @property
    def closed_gates(self) -> Sequence[Gate]:
        """Where the last request was refused."""
        return [gate for gate in Gate if gate in self._refusing]

    def note_gate(self, gate: Gate, *, is_closed: bool) -> None:
        """One request was refused at a limit, or passed it."""
        self._closed.labels(gate=gate).set(is_closed)
        (self._refusing.add if is_closed else self._refusing.discard)(gate)
        if is_closed:
            self._refused.labels(gate=gate).inc()

    def note_key(self, verdict: KeyVerdict) -> None:
        """One request came with an Idempotency-Key."""
        self._keys.labels(result=verdict).inc()

    def note_answer(self, kept: AnswerKept) -> None:
        """One answer to such a request was kept, or was not."""
        self._answers.labels(result=kept).inc()
