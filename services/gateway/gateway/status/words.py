"""What the status page says in words: errors and what to do about them, hosts, times. Pure."""

from collections.abc import Mapping
from datetime import datetime

from common.contracts.fetches import ErrorType
from common.contracts.hosts import BreakerState, HostState, HostView, PaceRule

ERRORS: Mapping[ErrorType, tuple[str, str]] = {
    ErrorType.REFUSED_ADDRESS: ("Refused: the address is not public", "Allow it as a target, or correct the URL."),
    ErrorType.REFUSED_SCHEME: ("Refused: neither http nor https", "Correct the URL."),
    ErrorType.REFUSED_PORT: ("Refused: the port is not allowed", "Allow the port, or correct the URL."),
    ErrorType.REFUSED_ROBOTS: ("Refused by robots.txt", "Leave it, or ignore robots.txt on hosts of your own."),
    ErrorType.INVALID_URL: ("The URL is not valid", "Correct the URL."),
    ErrorType.DNS: ("The name was not found", "Check the host's name; retry later if it is right."),
    ErrorType.CONNECT: ("Nobody answered at that address", "The site may be down; retry later."),
    ErrorType.TLS: ("The certificate or TLS was bad", "The site must mend its certificate."),
    ErrorType.TIMEOUT: ("It took too long", "Retry with a longer timeout_seconds."),
    ErrorType.PROTOCOL: ("The answer was not proper HTTP", "The site must mend it; retrying rarely helps."),
    ErrorType.TOO_LARGE: ("The answer was too large", "Retry with a larger max_bytes."),
    ErrorType.DECODE: ("The answer could not be decoded", "The site must mend its Content-Encoding."),
    ErrorType.TOO_MANY_REDIRECTS: ("Redirected too often", "Fetch the last address directly."),
    ErrorType.ABANDONED: ("Our workers never reported back", "Our fault: look at the fetchers, then retry."),
    ErrorType.EXPIRED: ("Its time was over before its turn", "Give it more time, or look at the queue."),
    ErrorType.INTERNAL: ("Something failed on our side", "Our fault: look at the fetchers' log, then retry."),
}
RULES: Mapping[PaceRule, str] = {
    PaceRule.DEFAULT: "our default",
    PaceRule.ROBOTS: "its robots.txt",
    PaceRule.RETRY_AFTER: "it asked us to wait",
    PaceRule.BREAKER: "it is not reached",
    PaceRule.OPERATOR: "an operator",
}
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def host_state(host: HostView) -> tuple[str, str]:
    """How a host is, as a word and as how bad that is: `ok`, `warn` or `bad`."""
    if host.state is HostState.BANNED:
        return "Banned", "bad"
    if host.state is HostState.PAUSED:
        return "Paused", "warn"
    if host.breaker.state is not BreakerState.CLOSED:
        return "Not reached", "bad"
    if host.pace.rule is PaceRule.RETRY_AFTER:
        return "Slowed down", "warn"
    return "Open", "ok"


def pace(host: HostView) -> str:
    """How fast a host is asked, and who set that."""
    delay, at_once = host.pace.delay_ms, host.pace.max_in_flight
    speed = f"one each {duration(delay / 1000)}" if delay else f"{at_once} at once"
    return f"{speed}, {RULES[host.pace.rule]}"


def duration(seconds: float) -> str:
    """A length of time, with two units at most: `0 s`, `1.5 s`, `3 min 20 s`, `2 d 4 h`."""
    if 0 < seconds < 10:
        return f"{max(seconds, 0.1):.1f}".removesuffix(".0") + " s"
    whole = max(0, round(seconds))
    for (size, unit), (smaller, sub) in zip(UNITS, UNITS[1:], strict=False):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {sub}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def until(at: datetime | None, *, now: datetime) -> str:
    """How long it is until then."""
    return "now" if at is None or at <= now else f"in {duration((at - now).total_seconds())}"


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"
