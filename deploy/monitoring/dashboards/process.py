"""What any of our processes shows of itself; the same panels on the dashboard of each service."""

from dashboards.page import Row
from dashboards.panels import graph, timeline
from dashboards.promql import age, fraction, highest, quantile, rate, select, total

LAG_SECONDS = 0.1


def process_row(service: str, *, has_loops: bool) -> Row:
    """Resources, dependencies and background loops of one service's processes."""
    ours = f'job="{service}"'
    return Row("Processes", [*_resources(ours), *_connections(ours), *(_loops(ours) if has_loops else ())])


def _resources(ours: str) -> list[object]:
    descriptors = f"{select('process_open_fds', ours)} / {select('process_max_fds', ours)}"
    return [
        graph(
            "Processor",
            "Processors that each process keeps busy.",
            (_each("process_cpu_seconds_total", ours), "{{instance}}"),
            unit="short",
        ),
        graph(
            "Memory",
            "Memory that each process holds.",
            (highest("process_resident_memory_bytes", "instance", ours), "{{instance}}"),
            unit="bytes",
        ),
        graph(
            "Files and sockets",
            "The share of the open files and sockets that each process may have.",
            (f"max by (instance) ({descriptors})", "{{instance}}"),
            unit="percentunit",
            edge=0.8,
        ),
        graph(
            "Event loop",
            f"How late the loop woke its watcher. From {LAG_SECONDS} s on something keeps it busy that should not.",
            (highest("fetchwork_event_loop_lag_seconds", "instance", ours), "{{instance}}"),
            unit="s",
            edge=LAG_SECONDS,
        ),
        graph(
            "Running for",
            "Since each process started. A saw is a process that dies and comes back.",
            (age("process_start_time_seconds", "instance", ours), "{{instance}}"),
            unit="s",
        ),
    ]


def _connections(ours: str) -> list[object]:
    return [
        graph(
            "Redis connections",
            "Connections that are in use, of each pool, over all processes.",
            (total("fetchwork_redis_connections", "pool, state", ours), "{{pool}} {{state}}"),
            (highest("fetchwork_limit", "link", f'link=~"redis_connections_.+", {ours}'), "{{link}} of one process"),
            unit="short",
        ),
        timeline(
            "Dependencies",
            "What each process could use at its last look.",
            highest("fetchwork_dependency_up", "instance, dependency", ours),
            "{{instance}} {{dependency}}",
            words=("away", "up"),
        ),
        timeline(
            "Stopping in order",
            "Processes that were told to stop and finish what they have.",
            highest("fetchwork_draining", "instance", ours),
            "{{instance}}",
            words=("serves", "stops"),
            good=0,
        ),
    ]


def _loops(ours: str) -> list[object]:
    return [
        graph(
            "Loops that fail",
            "The share of a background loop's passes that failed. It tries again by itself.",
            (fraction("fetchwork_loop_passes_total", f'result="failed", {ours}', "loop"), "{{loop}}"),
            unit="percentunit",
        ),
        graph(
            "Since a loop last did well",
            "A line that climbs is a loop that stands still or only fails.",
            (age("fetchwork_loop_last_success_timestamp_seconds", "loop", ours), "{{loop}}"),
            unit="s",
        ),
        graph(
            "Passes of loops",
            "95 of 100 passes take less, with what they waited for work.",
            (quantile(0.95, "fetchwork_loop_pass_duration_seconds", "loop", ours), "{{loop}}"),
            unit="s",
        ),
    ]


def _each(counter: str, ours: str) -> str:
    return rate(counter, "instance", ours)
