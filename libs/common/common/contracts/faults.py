"""Why a fetch failed, and whose doing that is."""

from enum import StrEnum


class Fault(StrEnum):
    """Whose doing it is that a fetch failed. The value is a metric label: only `ours` says that we are not well."""

    TARGET = "target"
    REQUEST = "request"
    OURS = "ours"


class ErrorType(StrEnum):
    """Why a fetch failed: a closed set, the same in JSON, SQL and metrics."""

    REFUSED_ADDRESS = "refused_address"
    REFUSED_SCHEME = "refused_scheme"
    REFUSED_PORT = "refused_port"
    REFUSED_ROBOTS = "refused_robots"
    INVALID_URL = "invalid_url"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    DECODE = "decode"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    ABANDONED = "abandoned"
    EXPIRED = "expired"
    INTERNAL = "internal"

    @property
    def fault(self) -> Fault:
        """Whose doing it is: what the caller asked for, what we did, and all else what the target did."""
        if self.name.startswith("REFUSED_") or self in (ErrorType.INVALID_URL, ErrorType.EXPIRED):
            return Fault.REQUEST
        return Fault.OURS if self in (ErrorType.ABANDONED, ErrorType.INTERNAL) else Fault.TARGET
