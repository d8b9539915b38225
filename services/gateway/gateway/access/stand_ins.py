"""Random secrets that stand for a caller, for who can send no API key. Redis keeps their SHA-256, and an expiry.

What a secret opens, and who asks whether its maker would still be let in, is its user's business.
"""

import hashlib
import secrets
from typing import ClassVar

from common.contracts.envelope import Message
from common.contracts.keys import Scope
from common.contracts.tenants import KeyId, Tenant
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType

SECRET_BYTES = 32


class _Holder(Message):
    tenant: Tenant
    key_id: KeyId | None
    actor: str
    digest: str


class StandIns:
    """Secrets of one kind, of all gateways, in the events Redis. Every method raises `failure` while that is away.

    A kind says under which `prefix` it is kept, how it is called, and which `scopes` of its maker's it keeps.
    """

    prefix: ClassVar[str]
    called: ClassVar[str]
    scopes: ClassVar[frozenset[Scope]]
    failure: ClassVar[type[GatewayError]]

    def __init__(self, redis: Redis, *, ttl_seconds: int, per_key_limit: int) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds
        self._per_key_limit = per_key_limit

    @property
    def ttl_seconds(self) -> int:
        """How long a secret stands for its maker."""
        return self._ttl_seconds

    async def make_secret(self, principal: Principal) -> str:
        """A new secret for a caller. Raises the problem quota-exceeded where its key has made too many of late."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        caller = {name: getattr(principal, name) for name in _Holder.model_fields}
        made = f"{self.prefix}made:{principal.actor}"
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(made)
                pipeline.expire(made, self._ttl_seconds, nx=True)
                count, _ = await pipeline.execute()
            if count > self._per_key_limit:
                detail = f"This key has made {self._per_key_limit} {self.called} within {self._ttl_seconds} seconds; use those."
                raise Problem(ProblemType.QUOTA_EXCEEDED, detail)
            await self._redis.set(self._key(secret), _Holder(**caller).model_dump_json(), ex=self._ttl_seconds)
        except (RedisError, OSError) as error:
            raise self.failure(type(error).__name__) from error
        return secret

    async def find_holder(self, secret: str) -> Principal | None:
        """Whom a secret stands for, with no scope but those of its kind; None when it is unknown or has expired."""
        try:
            found = await self._redis.get(self._key(secret))
        except (RedisError, OSError) as error:
            raise self.failure(type(error).__name__) from error
        if found is None:
            return None
        return Principal(**dict(_Holder.model_validate_json(found)), scopes=self.scopes)

    async def forget(self, secret: str) -> None:
        """The secret stands for nobody from now on."""
        try:
            await self._redis.delete(self._key(secret))
        except (RedisError, OSError) as error:
            raise self.failure(type(error).__name__) from error

    def _key(self, secret: str) -> str:
        return self.prefix + hashlib.sha256(secret.encode()).hexdigest()
