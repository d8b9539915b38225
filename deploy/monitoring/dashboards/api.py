"""What callers meet: rate, errors and duration of each route, promises, refusals, the feed."""

from dashboards.objectives import ACCEPT_SECONDS
from dashboards.page import Page, Row
from dashboards.panels import bars, graph
from dashboards.process import process_row
from dashboards.promql import fraction, highest, increase, mean, quantile, rate, total

REQUESTS, DURATION = "fetchwork_http_requests_total", "fetchwork_http_request_duration_seconds"
STORE_DURATION = "fetchwork_store_request_duration_seconds"
GATEWAY = 'job="gateway"'

ROUTES = Row(
    "Rate, errors, duration",
    [
        graph(
            "Requests, by route",
            "The route is the pattern, never the path.",
            (rate(REQUESTS, "route"), "{{route}}"),
            unit="reqps",
        ),
        graph(
            "Errors of ours, by route",
            "The share of a route's answers that were 5xx.",
            (fraction(REQUESTS, 'status_class="5xx"', "route"), "{{route}}"),
            unit="percentunit",
            edge=0.001,
        ),
        graph(
            "Duration, by route",
            "99 of 100 answers are complete within this time. Routes that wait or stream are slow on purpose.",
            (quantile(0.99, DURATION, "route"), "{{route}}"),
            unit="s",
        ),
        graph(
            "Answers, by class", "All routes.", (rate(REQUESTS, "status_class"), "{{status_class}}"), unit="reqps", stacked=True
        ),
        graph("Requests, by method", "All routes.", (rate(REQUESTS, "method"), "{{method}}"), unit="reqps", stacked=True),
        graph(
            "Under way",
            "Requests that are being answered, and the limit at which more are refused.",
            (total("fetchwork_http_requests_in_progress", "instance"), "{{instance}}"),
            (highest("fetchwork_limit", where='link="requests"'), "limit of each"),
            unit="short",
        ),
    ],
)
PROMISES = Row(
    "Promises",
    [
        graph(
            "Accept latency",
            "From the last byte of a submission to the durable promise, or to its refusal.",
            (quantile(0.5, "fetchwork_accept_duration_seconds"), "50 of 100"),
            (quantile(0.95, "fetchwork_accept_duration_seconds"), "95 of 100"),
            (quantile(0.99, "fetchwork_accept_duration_seconds"), "99 of 100"),
            unit="s",
            edge=ACCEPT_SECONDS,
        ),
        graph(
            "Submissions, by result",
            "Refused is the caller's doing or a gate's, failed is ours.",
            (rate("fetchwork_accept_duration_seconds_count", "result"), "{{result}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Fetches accepted, and lines of batches",
            "A batch is many fetches; lines that are rejected stop nothing else.",
            (rate("fetchwork_fetches_accepted_total"), "fetches"),
            (rate("fetchwork_batch_lines_total", where='result="accepted"'), "batch lines accepted"),
            (rate("fetchwork_batch_lines_total", where='result="rejected"'), "batch lines rejected"),
            unit="ops",
        ),
        graph(
            "Idempotency keys",
            "Requests with an Idempotency-Key, by what came of it.",
            (rate("fetchwork_idempotency_claims_total", "result"), "{{result}}"),
            unit="reqps",
        ),
        graph(
            "Answers kept for replays",
            "By whether they were kept. One that is not kept is made again, under the same id.",
            (rate("fetchwork_idempotency_answers_total", "result"), "{{result}}"),
            unit="reqps",
        ),
        graph(
            "URLs in plans",
            "By what egress would do.",
            (rate("fetchwork_planned_urls_total", "reason"), "{{reason}}"),
            unit="ops",
        ),
    ],
)
REFUSALS = Row(
    "Refusals",
    [
        bars(
            "Problems",
            "Problem documents sent in the time that is shown.",
            increase("fetchwork_problems_total", "type"),
            "{{type}}",
        ),
        graph(
            "Gates",
            "Requests refused because something was full. Whoever is refused is told when to come back.",
            (rate("fetchwork_gate_refusals_total", "gate"), "{{gate}}"),
            unit="reqps",
        ),
        graph(
            "Gates closed",
            "How many gateways refuse at each gate.",
            (total("fetchwork_gate_closed", "gate"), "{{gate}}"),
            unit="short",
        ),
        graph(
            "Quotas",
            "Requests answered 429 because their key used up a limit of its own, and reads let through uncounted.",
            (rate("fetchwork_quota_refusals_total", "limit"), "{{limit}}"),
            (rate("fetchwork_quota_uncounted_total"), "let through uncounted"),
            unit="reqps",
        ),
        graph(
            "Keys refused",
            "Requests answered 401. Many that are wrong or unknown is somebody who guesses.",
            (rate("fetchwork_keys_refused_total", "reason"), "{{reason}}"),
            unit="reqps",
        ),
        graph(
            "Limits",
            "What each link lets in at most, for each gateway.",
            (highest("fetchwork_limit", "link", GATEWAY), "{{link}}"),
            unit="short",
        ),
    ],
)
FEED = Row(
    "Feed and waits",
    [
        graph(
            "Streams and waits",
            "Requests that stream or wait.",
            (total("fetchwork_requests_waiting", "room"), "{{room}}"),
            unit="short",
        ),
        graph(
            "Pages of the feed",
            "From memory or from Redis. Many from Redis are clients that lag.",
            (rate("fetchwork_feed_pages_total", "source"), "{{source}}"),
            (rate("fetchwork_feed_failures_total"), "failed reads"),
            unit="ops",
        ),
        graph(
            "Entries sent, gaps told",
            "Entries that clients were sent, and clients that came too late for some.",
            (rate("fetchwork_feed_entries_sent_total"), "entries"),
            (rate("fetchwork_feed_gaps_total"), "gaps"),
            unit="ops",
        ),
        graph("Streams ended", "By why.", (rate("fetchwork_feed_streams_ended_total", "reason"), "{{reason}}"), unit="ops"),
        graph(
            "Feed in memory",
            "What each gateway keeps of the feed.",
            (total("fetchwork_feed_ring_bytes", "instance"), "{{instance}}"),
            unit="bytes",
        ),
        graph(
            "Bytes in and out",
            "Of requests and of answers.",
            (rate("fetchwork_http_request_bytes_total"), "in"),
            (rate("fetchwork_http_response_bytes_total"), "out"),
            unit="Bps",
        ),
    ],
)
BEHIND = Row(
    "What gateways need",
    [
        graph(
            "Requests to the store",
            "By what came of them.",
            (rate("fetchwork_store_requests_total", "result"), "{{result}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Store not available, by operation",
            "The share of requests that the store did not answer.",
            (fraction("fetchwork_store_requests_total", 'result="unavailable"', "operation"), "{{operation}}"),
            unit="percentunit",
        ),
        graph(
            "Duration of requests to the store",
            "The mean of all, and 99 of 100 for each operation.",
            (mean(STORE_DURATION), "mean"),
            (quantile(0.99, STORE_DURATION, "operation"), "{{operation}}"),
            unit="s",
        ),
        graph(
            "API keys",
            "Keys that each gateway has in memory, revoked ones too.",
            (total("fetchwork_keys_known", "instance"), "{{instance}}"),
            unit="short",
        ),
        graph(
            "Age of what is known of keys",
            "A revoked key may be good for this long.",
            (highest("fetchwork_keys_age_seconds", "instance"), "{{instance}}"),
            unit="s",
            edge=30,
        ),
        graph(
            "Failed readings and reports of keys",
            "Known keys stay good meanwhile.",
            (rate("fetchwork_key_failures_total", "loop"), "{{loop}}"),
            unit="ops",
        ),
    ],
)

PAGE = Page(
    name="api",
    title="API",
    answers="What do callers meet? Rate, errors and duration of each route, how promises are kept, who is refused and why.",
    services=("gateway",),
    rows=(ROUTES, PROMISES, REFUSALS, FEED, BEHIND, process_row("gateway", has_loops=True)),
)
