"""Read a host as callers write it: the same name that fetches have it under."""

from common.urls import UrlRefusal, read_url

ENDS_AUTHORITY = frozenset("/?#@")


def canonical_host(given: str) -> str:
    """The host of the glossary. Raises ValueError with a sentence for callers when it is none."""
    target = read_url(f"http://{given}/") if ENDS_AUTHORITY.isdisjoint(given) else None
    if target is None or isinstance(target, UrlRefusal):
        raise ValueError("This is not a host; write it as example.com, example.com:8080 or [2001:db8::1].")
    return target.host
