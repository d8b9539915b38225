"""`fetchwork keys`: API keys, for operators. A secret is shown once, alone on stdout, and is never an argument."""

from datetime import datetime
from typing import Annotated, Any

import typer

from fetchwork._ask import ask
from fetchwork._client import Client
from fetchwork._key_models import Key, NewKey
from fetchwork._terminal import harmless, say

keys = typer.Typer(help="Manage API keys; needs a key with the scope admin.", no_args_is_help=True)

SCOPES_DEFAULT = ("fetch:read", "fetch:write", "store:read")
NEVER = "never"
LIMITS = ("requests_per_minute", "fetches_per_minute", "queued_fetches")

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a key: the twelve characters, not the secret.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a key, on a line of its own.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="fetch:write, fetch:read, store:read or admin; repeatable. All but admin if absent."),
]
NewScopes = Annotated[list[str] | None, typer.Option("--scope", help="All scopes from now on; repeatable.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose key it is; `default` if absent.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only keys of this tenant.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What people call the key.")]
NewName = Annotated[str | None, typer.Option("--name", help="What people call the key.")]
RequestsPerMinute = Annotated[
    int | None, typer.Option("--requests-per-minute", min=0, help="Requests of any kind; 0 sets no limit.")
]
FetchesPerMinute = Annotated[int | None, typer.Option("--fetches-per-minute", min=0, help="Fetches accepted; 0 sets no limit.")]
QueuedFetches = Annotated[
    int | None, typer.Option("--queued-fetches", min=0, help="Fetches accepted and not finished, at once; 0 sets no limit.")
]
ExpiresAt = Annotated[str | None, typer.Option("--expires-at", metavar="TIME", help="With its offset, as 2027-01-31T00:00:00Z.")]
NewExpiresAt = Annotated[str | None, typer.Option("--expires-at", metavar="TIME", help="With its offset, or: never.")]
OverlapSeconds = Annotated[float | None, typer.Option("--overlap-seconds", min=0, help="How long the old secret stays good.")]


@keys.command()
def create(
    name: Name,
    scope: Scopes = None,
    tenant: Tenant = None,
    requests_per_minute: RequestsPerMinute = None,
    fetches_per_minute: FetchesPerMinute = None,
    queued_fetches: QueuedFetches = None,
    expires_at: ExpiresAt = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print its secret, which cannot be shown again.

    Keep it from the terminal with: (umask 077; fetchwork keys create NAME > FILE)

    Exit codes: 0 created, 2 usage, 3 unreachable or not authorized, 7 refused.
    """
    limits = _limits(requests_per_minute, fetches_per_minute, queued_fetches)
    time = _time(expires_at)
    made = ask(
        lambda client: client.create_key(
            name,
            scopes=scope or SCOPES_DEFAULT,
            tenant=tenant,
            limits={limit: value for limit, value in limits.items() if value},
            expires_at=time,
        )
    )
    _show_secret(made, as_json=as_json)


@keys.command("list")
def list_keys(tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """List keys, without secrets.

    Exit codes: 0 listed, 3 unreachable or not authorized, 7 refused.
    """

    async def show(client: Client) -> None:
        async for key in client.list_keys(tenant=tenant):
            print(key.model_dump_json() if as_json else harmless(_line(key)))

    ask(show)


@keys.command()
def show(key_id: Id, as_json: AsJson = False) -> None:
    """Show one key, without its secret.

    Exit codes: 0 shown, 3 unreachable or not authorized, 4 no such key.
    """
    _show(ask(lambda client: client.get_key(key_id)), as_json=as_json)


@keys.command()
def change(
    key_id: Id,
    name: NewName = None,
    scope: NewScopes = None,
    requests_per_minute: RequestsPerMinute = None,
    fetches_per_minute: FetchesPerMinute = None,
    queued_fetches: QueuedFetches = None,
    expires_at: NewExpiresAt = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a key, and nothing else.

    Exit codes: 0 changed, 2 usage, 3 unreachable or not authorized, 4 no such key, 7 refused.
    """
    members = {"name": name, "scopes": sorted(scope) if scope else None}
    changes: dict[str, Any] = {member: value for member, value in members.items() if value is not None}
    if expires_at is not None:
        changes["expires_at"] = None if expires_at == NEVER else _time(expires_at)
    if limits := _limits(requests_per_minute, fetches_per_minute, queued_fetches):
        changes["limits"] = limits
    if not changes:
        raise typer.BadParameter("Give at least one thing to change.")
    _show(ask(lambda client: client.change_key(key_id, **changes)), as_json=as_json)


@keys.command()
def rotate(key_id: Id, overlap_seconds: OverlapSeconds = None, as_json: AsJson = False) -> None:
    """Give a key a new secret and print it. Meanwhile the old one goes on working for a while.

    Exit codes: 0 rotated, 3 unreachable or not authorized, 4 no such key, 7 refused.
    """
    _show_secret(ask(lambda client: client.rotate_key(key_id, overlap_seconds=overlap_seconds)), as_json=as_json)


@keys.command()
def revoke(key_id: Id, as_json: AsJson = False) -> None:
    """Make a key good for nothing, for ever.

    Exit codes: 0 revoked, 3 unreachable or not authorized, 4 no such key, 7 refused.
    """
    _show(ask(lambda client: client.revoke_key(key_id)), as_json=as_json)


def _limits(requests_per_minute: int | None, fetches_per_minute: int | None, queued_fetches: int | None) -> dict[str, int | None]:
    """The limits that were given; None for one that is lifted."""
    given = dict(zip(LIMITS, (requests_per_minute, fetches_per_minute, queued_fetches), strict=True))
    return {name: value or None for name, value in given.items() if value is not None}


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--expires-at: {text} is not a time such as 2027-01-31T00:00:00Z.") from error
    if time.tzinfo is None:
        raise typer.BadParameter(f"--expires-at: {text} has no offset; write {text}Z for UTC.")
    return time


def _show_secret(key: NewKey, *, as_json: bool) -> None:
    say(harmless(_line(key)))
    say("This is the only time that its secret is shown:")
    print(key.model_dump_json() if as_json else key.secret)


def _show(key: Key, *, as_json: bool) -> None:
    if as_json:
        print(key.model_dump_json())
        return
    for name, value in key.model_dump(mode="json").items():
        print(harmless(f"{name:<16} {_words(value)}"))


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {limit:,}" for name, limit in value.items() if isinstance(limit, int)) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)


def _line(key: Key) -> str:
    state = key.state + (f" until {key.expires_at:%Y-%m-%d}" if key.expires_at else "")
    return "  ".join([f"{key.id:<12}", f"{key.tenant:<16}", f"{state:<24}", " ".join(sorted(key.scopes)), key.name])
