"""API keys by the SDK."""

from datetime import UTC, datetime

import pytest
from fetchwork import Client, NotAuthorized, NotFound
from played_gateway import PlayedGateway
from played_keys import PlayedKeys


async def test_secret_is_in_the_answer_and_in_no_print_of_it(gateway: PlayedGateway, keys: PlayedKeys, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        time, limits = datetime(2027, 1, 1, tzinfo=UTC), {"queued_fetches": 5}
        made = await client.create_key("shop", scopes={"fetch:write"}, tenant="acme", limits=limits, expires_at=time)
    assert made.secret == "secret-1"
    assert "secret-1" not in repr(made) + str(made)
    assert (made.tenant, made.limits.queued_fetches, made.limits.requests_per_minute) == ("acme", 5, None)
    assert keys.requests == [
        {
            "name": "shop",
            "scopes": ["fetch:write"],
            "tenant": "acme",
            "limits": {"queued_fetches": 5},
            "expires_at": "2027-01-01T00:00:00+00:00",
        }
    ]


async def test_broken_connection_makes_no_second_secret(gateway: PlayedGateway, keys: PlayedKeys, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        assert (await client.create_key("broken", scopes=["fetch:read"])).secret == "secret-1"
    assert (len(keys.idempotency_keys), len(set(keys.idempotency_keys))) == (3, 1)


async def test_keys_are_listed_changed_rotated_and_revoked(gateway: PlayedGateway, keys: PlayedKeys, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        made = [await client.create_key(f"key {number}", scopes=["fetch:read"]) for number in range(3)]
        assert [key.id async for key in client.list_keys(tenant="default")] == [key.id for key in made]
        assert (await client.change_key(made[0].id, name="other")).name == "other"
        assert (await client.get_key(made[0].id)).name == "other"
        assert (await client.rotate_key(made[0].id, overlap_seconds=60)).secret == "secret-2"
        assert (await client.revoke_key(made[0].id)).state == "revoked"
    assert keys.requests[-2:] == [{"name": "other"}, {"overlap_seconds": 60}]
    assert keys.revoked == [made[0].id]


async def test_unknown_key_and_missing_scope_have_their_errors(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(NotFound):
            await client.get_key("unknown")
        with pytest.raises(NotAuthorized):
            await client.create_key("forbidden", scopes=["admin"])
