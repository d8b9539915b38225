"""`fetchwork keys`: secrets are alone on stdout, once; everything else says what it did."""

import json

import pytest
from commands import Commands
from played_keys import PlayedKeys


async def test_secret_of_a_new_key_is_all_of_stdout(commands: Commands, keys: PlayedKeys) -> None:
    done = await commands.run("keys", "create", "shop")
    assert (done.code, done.out) == (0, "secret-1\n")
    assert "secret-1" not in done.err
    assert next(iter(keys.keys)) in done.err
    assert keys.requests == [{"name": "shop", "scopes": ["fetch:read", "fetch:write", "store:read"]}]


async def test_everything_about_a_new_key_is_passed_on(commands: Commands, keys: PlayedKeys) -> None:
    options = ["--tenant", "acme", "--scope", "admin", "--requests-per-minute", "60", "--queued-fetches", "0"]
    done = await commands.run("keys", "create", "shop", *options, "--expires-at", "2027-01-01T00:00:00Z", "--json")
    assert (done.code, json.loads(done.out)["secret"]) == (0, "secret-1")
    assert keys.requests == [
        {
            "name": "shop",
            "tenant": "acme",
            "scopes": ["admin"],
            "limits": {"requests_per_minute": 60},
            "expires_at": "2027-01-01T00:00:00+00:00",
        }
    ]


async def test_keys_are_listed_and_shown_without_secrets(commands: Commands) -> None:
    for name in ("one", "two"):
        await commands.run("keys", "create", name)
    listed = await commands.run("keys", "list")
    assert [line.split()[-1] for line in listed.out.splitlines()] == ["one", "two"]
    key_id = listed.out.split()[0]
    shown = await commands.run("keys", "show", key_id, "--json")
    assert (shown.code, json.loads(shown.out)["name"]) == (0, "one")
    people = await commands.run("keys", "show", key_id)
    assert "scopes           fetch:read fetch:write store:read" in people.out.splitlines()
    assert "secret" not in listed.out + shown.out + people.out
    assert (await commands.run("keys", "list", "--tenant", "other")).out == ""


async def test_change_keeps_what_is_not_given(commands: Commands, keys: PlayedKeys) -> None:
    await commands.run("keys", "create", "shop", "--requests-per-minute", "60", "--queued-fetches", "9")
    key_id = next(iter(keys.keys))
    done = await commands.run("keys", "change", key_id, "--fetches-per-minute", "5", "--queued-fetches", "0", "--json")
    assert done.code == 0
    assert keys.requests[-1] == {"limits": {"fetches_per_minute": 5, "queued_fetches": None}}
    await commands.run("keys", "change", key_id, "--expires-at", "never")
    assert keys.requests[-1] == {"expires_at": None}
    await commands.run("keys", "change", key_id, "--name", "other", "--scope", "store:read", "--scope", "fetch:read")
    assert keys.requests[-1] == {"name": "other", "scopes": ["fetch:read", "store:read"]}


async def test_new_secret_of_a_rotated_key_is_all_of_stdout(commands: Commands, keys: PlayedKeys) -> None:
    await commands.run("keys", "create", "shop")
    done = await commands.run("keys", "rotate", next(iter(keys.keys)), "--overlap-seconds", "60")
    assert (done.code, done.out) == (0, "secret-2\n")
    assert keys.requests[-1] == {"overlap_seconds": 60}


async def test_revoked_is_0(commands: Commands, keys: PlayedKeys) -> None:
    await commands.run("keys", "create", "shop")
    done = await commands.run("keys", "revoke", "key000000000")
    assert (done.code, keys.revoked) == (0, ["key000000000"])
    assert "state            revoked" in done.out.splitlines()
    assert json.loads((await commands.run("keys", "revoke", "key000000000", "--json")).out)["state"] == "revoked"


async def test_unknown_key_is_4_and_missing_scope_3(commands: Commands) -> None:
    assert (await commands.run("keys", "show", "unknown")).code == 4
    done = await commands.run("keys", "create", "forbidden")
    assert (done.code, done.out) == (3, "")


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["change", "x"], ["rotate"]]
    + [["create", "x", "--expires-at", "soon"], ["create", "x", "--expires-at", "2027-01-01"]],
)
async def test_usage_is_2(commands: Commands, keys: PlayedKeys, arguments: list[str]) -> None:
    assert (await commands.run("keys", *arguments)).code == 2
    assert keys.requests == []
