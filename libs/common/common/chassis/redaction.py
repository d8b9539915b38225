"""Take secrets out of text that people will read: log lines and attributes of spans. Values only; structure stays."""

import re
from collections.abc import Mapping
from functools import lru_cache
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
NAMES_LIMIT = 1024
"""How many sets of field names are remembered: one for each kind of log line, by and large."""

_TEXTLESS = frozenset({bool, int, float, type(None)})
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s\"']*@")
_API_KEY = re.compile(KEY_FORM)
_QUERY = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']*")


def are_harmless(fields: Mapping[str, Any]) -> bool:
    """Whether `redacted` would leave all these fields as they are, told at a glance: True of most log lines."""
    if _names_secrets(tuple(fields)):
        return False
    try:
        text = "\n".join([value for value in fields.values() if value.__class__ not in _TEXTLESS])
    except TypeError:  # a list or a mapping, in which texts may be
        return False
    return "://" not in text and KEY_START not in text


@lru_cache(maxsize=NAMES_LIMIT)
def _names_secrets(names: tuple[str, ...]) -> bool:
    return any(name.lower() in SECRET_FIELDS for name in names)


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
