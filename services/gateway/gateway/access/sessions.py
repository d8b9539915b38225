"""Sessions: what lets a browser see the status page after somebody signed in there. They open nothing else.

A session is a random number in a cookie that stands for the key it was opened with. Redis knows only its digest.
"""


from common.contracts.keys import Scope
from common.streams.names import SESSION_KEY_PREFIX

from gateway.access.stand_ins import StandIns
from gateway.errors import EventsUnavailable

COOKIE = "fetchwork_session"
SECRET_LIMIT_CHARACTERS = 100


class Sessions(StandIns):
    """Sessions of all gateways. Every method raises EventsUnavailable while the events Redis is away."""

    prefix, called, scopes, failure = SESSION_KEY_PREFIX, "sessions", frozenset({Scope.ADMIN}), EventsUnavailable


def session_of(cookies: str | None) -> str | None:
    """The session in a `Cookie` header (RFC 6265, section 4.2); None where there is none that could be ours."""
    pairs = (pair.strip().partition("=") for pair in (cookies or "").split(";"))  # one that is malformed spoils no other
    found = next((value for name, _, value in pairs if name == COOKIE), "")
    return found if 0 < len(found) <= SECRET_LIMIT_CHARACTERS else None


def session_cookie(secret: str, *, seconds: int, is_secure: bool) -> str:
    """The `Set-Cookie` that begins a session, or with 0 seconds ends it. No script reads it, no other site sends it."""
    parts = [f"{COOKIE}={secret}", "Path=/", f"Max-Age={seconds}", "HttpOnly", "SameSite=Strict"]
    return "; ".join([*parts, "Secure"] if is_secure else parts)
