"""The ledger and what it stands on: transactions, connections, sizes, contents, loops, both Redis."""

from dashboards.page import Page, Row
from dashboards.panels import graph, light
from dashboards.process import process_row
from dashboards.promql import fraction, highest, lowest, quantile, rate, share, total

STORE = 'job="store"'
CONTENTS, CONTENT_BYTES = "fetchwork_contents_total", "fetchwork_content_bytes_total"
ACQUIRE = "fetchwork_database_acquire_seconds"

SPACE = Row(
    "Is there room?",
    [
        light(
            "Database space",
            "How much of FETCHWORK_DATABASE_LIMIT_BYTES the database fills.",
            share(highest("fetchwork_database_bytes"), highest("fetchwork_limit", where='link="database_bytes"')),
            unit="percentunit",
            odd=0.7,
            wrong=0.85,
        ),
        light(
            "Redis memory",
            "The fuller of both. A full one refuses to promise.",
            "max("
            + share(highest("fetchwork_redis_memory_bytes", "redis"), highest("fetchwork_redis_memory_limit_bytes", "redis"))
            + ")",
            unit="percentunit",
            odd=0.7,
            wrong=0.85,
        ),
        light(
            "Redis persistence",
            "1 when the last write of the log and the last save went well in both.",
            lowest("fetchwork_redis_persistence_ok"),
            wrong=1,
            low=True,
        ),
        light(
            "Connections",
            "How many of the pool's database connections are in use.",
            share(
                total("fetchwork_database_connections", where='state="in_use"'),
                total("fetchwork_limit", where='link="database_connections"'),
            ),
            unit="percentunit",
            odd=0.8,
            wrong=0.95,
        ),
        light(
            "Wait for a connection",
            "99 of 100 wait less.",
            quantile(0.99, ACQUIRE),
            unit="s",
            odd=0.05,
            wrong=0.5,
        ),
        light(
            "Transactions that fail",
            "The share that found the database away.",
            fraction("fetchwork_database_transactions_total", 'result="unavailable"'),
            unit="percentunit",
            odd=0.001,
            wrong=0.01,
        ),
    ],
)
DATABASE = Row(
    "Database",
    [
        graph(
            "Transactions",
            "Retried are those that met another, or a lost connection; refused break a constraint.",
            (rate("fetchwork_database_transactions_total", "result"), "{{result}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Ingest and record",
            "Duration of one transaction, by the stream that it takes from.",
            (quantile(0.5, "fetchwork_ingest_seconds", "stream"), "50 of 100 {{stream}}"),
            (quantile(0.99, "fetchwork_ingest_seconds", "stream"), "99 of 100 {{stream}}"),
            unit="s",
        ),
        graph(
            "Connections",
            "Of all stores, and how many each may have.",
            (total("fetchwork_database_connections", "state"), "{{state}}"),
            (highest("fetchwork_limit", where='link="database_connections"'), "limit of each"),
            unit="short",
        ),
        graph(
            "Wait for a connection",
            "Above a few milliseconds the pool is too small or a transaction too long.",
            (quantile(0.5, ACQUIRE), "50 of 100"),
            (quantile(0.99, ACQUIRE), "99 of 100"),
            unit="s",
        ),
        graph(
            "Size",
            "The whole database, and the space that it was given.",
            (highest("fetchwork_database_bytes"), "database"),
            (highest("fetchwork_limit", where='link="database_bytes"'), "limit"),
            unit="bytes",
        ),
        graph(
            "Size, by table",
            "With indexes and what is stored beside.",
            (highest("fetchwork_table_bytes", "table"), "{{table}}"),
            unit="bytes",
            stacked=True,
        ),
        graph(
            "History",
            "About how many rows only the schema's owner prunes.",
            (highest("fetchwork_history_rows", "table"), "{{table}}"),
            unit="short",
        ),
        graph(
            "Pruned",
            "Rows deleted because they had been kept for long enough.",
            (rate("fetchwork_pruned_total", "what"), "{{what}}"),
            unit="ops",
        ),
        graph(
            "Limits", "What each link takes in at most.", (highest("fetchwork_limit", "link", STORE), "{{link}}"), unit="short"
        ),
    ],
)
CONTENT = Row(
    "Contents",
    [
        graph(
            "Bodies handed in", "A duplicate is kept once.", (rate(CONTENTS, "result"), "{{result}}"), unit="ops", stacked=True
        ),
        graph("Bytes handed in", "Decoded.", (rate(CONTENT_BYTES, "result"), "{{result}}"), unit="Bps", stacked=True),
        graph(
            "Share of duplicates",
            "How much of what is handed in was there already.",
            (fraction(CONTENTS, 'result="duplicate"'), "bodies"),
            (fraction(CONTENT_BYTES, 'result="duplicate"'), "bytes"),
            unit="percentunit",
            high=1,
        ),
        graph(
            "Not transferred again",
            "Bytes that reuse saved, by kind.",
            (rate("fetchwork_reuse_saved_bytes_total", "kind"), "{{kind}}"),
            unit="Bps",
            stacked=True,
        ),
        graph(
            "Totals of keys put right",
            "Totals that the events Redis had lost, and keys counted too high; many at once is a Redis that was restored.",
            (rate("fetchwork_key_totals_raised_total"), "raised"),
            (rate("fetchwork_key_totals_lowered_total"), "lowered"),
            unit="ops",
        ),
        graph(
            "Feed",
            "Events sent, and those that wait.",
            (rate("fetchwork_outbox_sent_total"), "sent in a second"),
            (highest("fetchwork_outbox_events"), "wait"),
            unit="short",
        ),
    ],
)
REDIS = Row(
    "Redis",
    [
        graph(
            "Memory",
            "Of each Redis, and how much each may have.",
            (highest("fetchwork_redis_memory_bytes", "redis"), "{{redis}}"),
            (highest("fetchwork_redis_memory_limit_bytes", "redis"), "{{redis}} limit"),
            unit="bytes",
        ),
        graph(
            "Commands in the broker",
            "Messages that no worker has taken.",
            (highest("fetchwork_broker_commands"), "commands"),
            unit="short",
        ),
        graph(
            "Streams",
            "Entries that a group has not acknowledged: they take memory.",
            (highest("fetchwork_stream_lag_entries", "stream, group"), "{{stream}}"),
            unit="short",
        ),
    ],
)

PAGE = Page(
    name="store",
    title="store",
    answers="Does the ledger keep up, and is there room? Postgres, contents, both Redis, the store's loops.",
    services=("store",),
    rows=(SPACE, DATABASE, CONTENT, REDIS, process_row("store", has_loops=True)),
)
