"""Which colour a word has, on every dashboard. The names are of Grafana's palette, which has a light and a dark shade of each."""

GOOD, ODD, WRONG = "green", "yellow", "red"
ON_ITS_WAY, WAITING, OURS, ENDED_BY_CALLER, TOO_LATE = "blue", "super-light-blue", "dark-red", "purple", "orange"

BY_LABEL: dict[str, dict[str, str]] = {
    "state": {
        "queued": WAITING,
        "running": ON_ITS_WAY,
        "busy": ON_ITS_WAY,
        "in_use": ON_ITS_WAY,
        "free": GOOD,
        "idle": GOOD,
        "paused": ODD,
        "unreached": TOO_LATE,
        "banned": ENDED_BY_CALLER,
    },
    "status": {"succeeded": GOOD, "failed": WRONG, "cancelled": ENDED_BY_CALLER, "expired": TOO_LATE},
    "outcome": {
        "fetched": GOOD,
        "not_modified": ON_ITS_WAY,
        "refused": ENDED_BY_CALLER,
        "timed_out": TOO_LATE,
        "failed": WRONG,
        "snoozed": WAITING,
    },
    "status_class": {"1xx": WAITING, "2xx": GOOD, "3xx": ON_ITS_WAY, "4xx": ODD, "5xx": WRONG},
    "fault": {"target": ODD, "request": ENDED_BY_CALLER, "ours": OURS},
    "result": {
        "ok": GOOD,
        "accepted": GOOD,
        "committed": GOOD,
        "new": ON_ITS_WAY,
        "duplicate": GOOD,
        "refused": ENDED_BY_CALLER,
        "rejected": ENDED_BY_CALLER,
        "retried": ODD,
        "failed": WRONG,
        "unavailable": WRONG,
    },
}
"""Label, its value, the colour."""
