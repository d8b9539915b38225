"""Who asks: the tenant whose things a request may see, the key that it came with, and what that key may do."""

from dataclasses import dataclass, field
from datetime import datetime

from common.contracts.keys import KeyLimits, Scope
from common.contracts.tenants import DEFAULT_TENANT

UNLIMITED = KeyLimits()
EVERY_SCOPE = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A known caller. `key_id` is None for the first key of the deployment; `actor` names the key and does not tell it.

    From `expires_at` on, what it came with is good no more: the key whose SHA-256 is `digest`, which a rotation may end sooner.
    """

    actor: str
    tenant: str = DEFAULT_TENANT
    key_id: str | None = None
    name: str = "first key"
    scopes: frozenset[Scope] = EVERY_SCOPE
    limits: KeyLimits = UNLIMITED
    expires_at: datetime | None = None
    digest: str = field(default="", repr=False)
