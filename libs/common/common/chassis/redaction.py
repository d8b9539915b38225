"""Take secrets out of text that people will read: log lines and attributes of spans. Values only; structure stays."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from common.contracts.keys import KEY_FORM, KEY_START

REDACTED = "REDACTED"
SECRET_FIELDS = frozenset(
    {
        "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api_key",
        "token", "store_token", "password", "secret",
    }
)  # fmt: skip
"""Fields whose whole value is a secret, in lower case."""
DEPTH_LIMIT = 8
"""How deep into lists and mappings secrets are looked for; what is deeper is left out whole."""

_TEXTLESS = frozenset({bool, int, float, type(None)})
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s\"']*@")
_API_KEY = re.compile(KEY_FORM)
_QUERY = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")


def is_harmless(name: str, value: Any) -> bool:
    """Whether `redacted` would leave the field as it is, told at a glance: True for most fields there are."""
    if value.__class__ not in _TEXTLESS and not (isinstance(value, str) and "://" not in value and KEY_START not in value):
        return False
    return name.lower() not in SECRET_FIELDS


def without_secrets(text: str) -> str:
    """The text without API keys, credentials in URLs, and the query part of HTTP URLs."""
    if KEY_START in text:
        text = _API_KEY.sub(REDACTED, text)
    return _QUERY.sub(rf"\1?{REDACTED}", _CREDENTIALS.sub(f"{REDACTED}@", text)) if "://" in text else text


def redacted(name: str, value: Any, *, depth: int = 0) -> Any:
    """The value of a field without its secrets: all of it when the field is named like one, else whatever its texts hold."""
    if name.lower() in SECRET_FIELDS:
        return REDACTED
    if isinstance(value, str):
        return without_secrets(value)
    if value is None or isinstance(value, int | float) or not isinstance(value, Mapping | list | tuple | set | frozenset):
        return value
    if depth == DEPTH_LIMIT:
        return REDACTED
    if isinstance(value, Mapping):
        return {without_secrets(str(key)): redacted(str(key), item, depth=depth + 1) for key, item in value.items()}
    return [redacted("", item, depth=depth + 1) for item in value]


def redacted_url(url: str) -> str:
    """The URL without credentials and fragment, and with its query, if any, as one word (semantic conventions, `url.full`)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    host = parts.netloc.rpartition("@")[2]
    return without_secrets(urlunsplit((parts.scheme, host, parts.path, REDACTED if parts.query else "", "")))
