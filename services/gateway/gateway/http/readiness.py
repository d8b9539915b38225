"""What a gateway needs to promise fetches, and what it can do without for a while."""

from common.chassis.health import Check, Soft, Unhealthy

from gateway.access.key_ring import KeyRing
from gateway.errors import EventsUnavailable
from gateway.promises.publish import Publisher
from gateway.store_client import StoreClient

KEYS_AGE_LIMIT_SECONDS = 30.0
"""Older than this, a key that was revoked may still be good: longer than we promise."""


def gateway_checks(*, publisher: Publisher, store: StoreClient, key_ring: KeyRing) -> dict[str, Check]:
    """Hard is the events Redis alone, since a promise is one event. Without the store reads fail and unknown keys get 503."""

    async def events() -> None:
        try:
            await publisher.check()
        except EventsUnavailable as error:  # sentences of ours
            raise Unhealthy(str(error)) from error

    async def keys() -> None:
        age_seconds = key_ring.age_seconds
        if age_seconds == float("inf"):
            raise Unhealthy("never read from the store")
        if age_seconds > KEYS_AGE_LIMIT_SECONDS:
            raise Unhealthy(f"not read from the store for {age_seconds:.0f} s")

    return {"events": events, "store": Soft(store.check), "keys": Soft(keys)}
