"""Which request headers are not a caller's to set: the gateway refuses them by name, the fetcher never sends them."""

_DENIED = frozenset(
    (
        # Decided by the exchange itself: authority, framing and what we can decode.
        "host content-length transfer-encoding accept-encoding expect "
        # Hop by hop (RFC 9110 section 7.6.1).
        "connection keep-alive te trailer upgrade forwarded via "
        # Believed by proxies and applications behind a trusted front.
        "x-real-ip x-rewrite-url x-original-url x-client-ip true-client-ip "
        # Our own traces end here.
        "traceparent tracestate baggage"
    ).split()
)
_DENIED_PREFIXES = ("proxy-", "x-forwarded-", "sec-", "metadata", "x-aws-ec2-metadata-", "x-google-metadata")


def is_denied(name: str) -> bool:
    """Is this header never taken from a caller?"""
    lowered = name.lower()
    return lowered in _DENIED or lowered.startswith(_DENIED_PREFIXES)
