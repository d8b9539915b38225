"""Whether a request that changes something comes from a page of ours, as far as its browser says. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit


def is_cross_origin(headers: Mapping[str, str]) -> bool:
    """True when the browser says that another origin sent it. Header names are in lower case.

    Browsers that send `Sec-Fetch-Site` (W3C Fetch Metadata) are believed; they leave it out over plain http, and then say
    `Origin` (Fetch, section 3.2) with everything but GET. Who sends neither is no browser, and no page can make it send a cookie.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site != "same-origin"
    origin = headers.get("origin")
    return origin is not None and _authority(origin) != headers.get("host", "")


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # an address in brackets that is none
        return None
