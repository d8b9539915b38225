"""API keys: create, list, look, change, rotate, revoke. All of it needs a key with the scope `admin`."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from fetchwork._calls import Calls
from fetchwork._fetch_options import time_text
from fetchwork._key_models import Key, NewKey
from fetchwork._patience import Repeat
from fetchwork._transport import read


class KeyCalls(Calls):
    """What operators do with API keys."""

    async def create_key(
        self,
        name: str,
        *,
        scopes: Iterable[str],
        tenant: str | None = None,
        limits: Mapping[str, int | None] | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """A new key with its secret, which nobody can show again. Scopes: fetch:write, fetch:read, store:read, admin.

        `limits` may have `requests_per_minute`, `fetches_per_minute` and `queued_fetches`. Raises FetchworkError.
        """
        members = {
            "name": name,
            "scopes": sorted(scopes),
            "tenant": tenant,
            "limits": dict(limits) if limits else None,
            "expires_at": time_text(expires_at) if expires_at else None,
        }
        asked = {member: value for member, value in members.items() if value is not None}
        return await self._secret("/v1/keys", asked)

    def list_keys(self, *, tenant: str | None = None, limit: int | None = None) -> AsyncIterator[Key]:
        """Keys, those of one tenant or of all, `limit` at most. Raises FetchworkError."""
        return self._walk("/v1/keys", Key, {"tenant": tenant}, limit)

    async def get_key(self, key_id: str) -> Key:
        """One key. Raises NotFound and other FetchworkErrors."""
        return read(Key, await self._transport.call("GET", f"/v1/keys/{key_id}"))

    async def change_key(self, key_id: str, **changes: Any) -> Key:
        """Change some of a key's `name`, `scopes`, `limits` and `expires_at`. Raises NotFound and other FetchworkErrors."""
        asked = {name: time_text(value) if isinstance(value, datetime) else value for name, value in changes.items()}
        return read(Key, await self._transport.call("PATCH", f"/v1/keys/{key_id}", json=asked, repeat=Repeat.ALWAYS))

    async def rotate_key(self, key_id: str, *, overlap_seconds: float | None = None) -> NewKey:
        """Give a key a new secret; the old one is good for `overlap_seconds` more. Raises NotFound and other FetchworkErrors."""
        asked = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        return await self._secret(f"/v1/keys/{key_id}/rotate", asked)

    async def revoke_key(self, key_id: str) -> Key:
        """Make a key good for nothing, for ever. Raises NotFound and other FetchworkErrors."""
        return read(Key, await self._transport.call("DELETE", f"/v1/keys/{key_id}"))

    async def _secret(self, path: str, asked: Mapping[str, Any]) -> NewKey:
        """A secret that is made once, although its answer may have to be asked for again."""
        headers = {"Idempotency-Key": str(uuid4())}
        return read(NewKey, await self._transport.call("POST", path, json=asked, headers=headers, repeat=Repeat.ALWAYS))
