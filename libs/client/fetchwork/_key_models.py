"""What the gateway answers about API keys."""

from datetime import datetime

from pydantic import Field

from fetchwork._models import Answer


class KeyLimits(Answer):
    """How much a key may ask for; None sets no limit."""

    requests_per_minute: int | None = None
    fetches_per_minute: int | None = None
    queued_fetches: int | None = None


class Key(Answer):
    """One API key, without its secret. `state` is active, expired or revoked."""

    id: str
    tenant: str
    name: str = ""
    state: str = "active"
    scopes: list[str] = Field(default_factory=list)
    limits: KeyLimits = KeyLimits()
    created_at: datetime | None = None
    created_by: str | None = None
    expires_at: datetime | None = None
    rotated_at: datetime | None = None
    previous_until: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class NewKey(Key):
    """A key with its secret, which the gateway shows this once. The secret is left out when the object is printed."""

    secret: str = Field(repr=False)
