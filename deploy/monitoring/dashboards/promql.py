"""The few shapes of query that our panels ask, so that each of them leaves out no instance and counts none twice.

Counters and histograms are summed over the processes that export them. What every store reads from the one database is the same
number in each, so of such a gauge the highest counts. What each process has for itself is summed by `total`.
Each function returns PromQL; `by` names labels, separated by commas, and `where` is a matcher such as `job="store"`.
"""

CHOSEN = 'instance=~"$instance"'
WINDOW = "[$__rate_interval]"
"""Grafana's: at least four scrapes, and never finer than a pixel."""


def select(metric: str, where: str = "") -> str:
    """The series of a metric on the instances that the reader chose."""
    matchers = f"{where}, {CHOSEN}" if where else CHOSEN
    return f"{metric}{{{matchers}}}"


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How fast a counter grows, per second."""
    return _over("sum", by, f"rate({select(metric, where)}{WINDOW})")


def increase(metric: str, by: str = "", where: str = "") -> str:
    """By how much a counter grew in the time that is shown."""
    return _over("sum", by, f"increase({select(metric, where)}[$__range])")


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """The value below which that share of observations lies; `histogram` without `_bucket`."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, where)})"


def mean(histogram: str, by: str = "", where: str = "") -> str:
    """The mean of what a histogram observed."""
    return f"{rate(f'{histogram}_sum', by, where)} / {rate(f'{histogram}_count', by, where)}"


def within(edge: str, histogram: str, where: str = "") -> str:
    """The share of observations that were at most `edge`, which is one of the histogram's."""
    matcher = ", ".join(filter(None, (f'le="{edge}"', where)))
    return f"{rate(f'{histogram}_bucket', '', matcher)} / {rate(f'{histogram}_count', '', where)}"


def share(part: str, whole: str) -> str:
    """A part of a whole, nothing where there is no whole."""
    return f"{part} / ({whole} > 0)"


def fraction(counter: str, where: str, by: str = "") -> str:
    """Which share of a counter's growth is that of the series in `where`; 0 where those have not appeared yet."""
    part, whole = rate(counter, by, where), rate(counter, by)
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def highest(gauge: str, by: str = "", where: str = "") -> str:
    """The highest over processes: for what all of them read at one place, and for the worst of each."""
    return _over("max", by, select(gauge, where))


def lowest(gauge: str, by: str = "", where: str = "") -> str:
    """The lowest over processes: for what must hold in all of them."""
    return _over("min", by, select(gauge, where))


def total(gauge: str, by: str = "", where: str = "") -> str:
    """The sum over processes: for what each has for itself."""
    return _over("sum", by, select(gauge, where))


def age(gauge: str, by: str = "", where: str = "") -> str:
    """How long ago the time in a gauge is, where it is longest ago."""
    return f"time() - {lowest(gauge, by, where)}"


def _over(aggregation: str, by: str, series: str) -> str:
    return f"{aggregation} by ({by}) ({series})" if by else f"{aggregation}({series})"
