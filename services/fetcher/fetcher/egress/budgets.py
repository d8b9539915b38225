"""How much of each thing one attempt may use: time, bytes, lines, hops. Values only; who measures is said at each field."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Limits of every attempt of this process; what one fetch may set itself is in its request.

    Durations in seconds, sizes in bytes, all > 0 but redirects and slack, which may be 0. An attempt that exceeds one
    says so in `evidence.exceeded`.
    """

    connect_seconds: float = 5.0
    """TCP, the proxy's CONNECT and TLS together, for each connection, without the lookup of the name."""
    first_byte_seconds: float = 30.0
    """From a written request to the end of the response head."""
    idle_seconds: float = 15.0
    """Between two reads of a body."""
    header_bytes: int = 64 * 1024
    """All header lines of a response together."""
    header_lines: int = 128
    header_line_bytes: int = 16 * 1024
    redirects: int = 5
    """Followed, at most; one more ends the attempt."""
    decoded_ratio: int = 200
    """Decoded over wire bytes, once more than `ratio_free_bytes` were decoded."""
    ratio_free_bytes: int = 1024 * 1024
    """A body up to this decoded size may compress as well as it likes."""
    wire_slack_bytes: int = 64 * 1024
    """What a body may take on the wire beyond its decoded limit: codings and framing add a little, floods a lot."""
