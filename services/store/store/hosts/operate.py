"""What operators change about a host: its override, and whether what it asked for and how it failed is forgotten."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from common.contracts.hosts import HostChange, HostOperation, HostState

from store.database import Connection
from store.hosts.pace import Host, Override, PaceSettings, override_in_force
from store.hosts.rows import lock_hosts, settle_hosts
from store.operator_log import log_operation
from store.queries import query

ONE = query("hosts_one")
OVERRIDE = query("hosts_override")
ACTION = "host.change"


async def operate_host(
    connection: Connection, name: str, operation: HostOperation, settings: PaceSettings, *, now: datetime | None
) -> asyncpg.Record:
    """Change one host, in the caller's transaction, and note who did; its row is made if need be. Returns the row as it is now.

    The claim looks at the host when it opens now.
    """
    change, actor = operation.change, _text(operation.actor)
    locked, at = await lock_hosts(connection, {name}, now=now)
    before = locked[name]
    after = changed(before, change, actor=actor, now=at)
    override = after.override
    await connection.execute(
        OVERRIDE,
        name,
        override.state.value if override is not None and override.state is not HostState.OPEN else None,
        override.delay_ms if override is not None else None,
        override.max_in_flight if override is not None else None,
        override.reason if override is not None else None,
        override.actor if override is not None else None,
        override.until if override is not None else None,
    )
    detail = {"change": change.model_dump(mode="json", exclude_unset=True), "before": _shown(before), "after": _shown(after)}
    detail["change"]["reason"] = _text(change.reason)
    await log_operation(connection, actor=actor or "", action=ACTION, subject=name, detail=detail, now=now)
    await settle_hosts(connection, [after], settings, had_turn=True, at=at, now=now)
    row: asyncpg.Record = await connection.fetchrow(ONE, name, now)
    return row


def changed(host: Host, change: HostChange, *, actor: str | None, now: datetime) -> Host:
    """The host after a change. Absent members stay, `null` takes one back; what has ended is gone. Pure."""
    given = change.model_fields_set
    in_force = override_in_force(host, now=now)
    until = now + timedelta(seconds=change.expires_in_seconds)
    override = replace(in_force, actor=actor, until=until) if in_force is not None else Override(actor=actor, until=until)
    if "state" in given:
        override = replace(override, state=change.state or HostState.OPEN)
    if "delay_ms" in given:
        override = replace(override, delay_ms=change.delay_ms)
    if "max_in_flight" in given:
        override = replace(override, max_in_flight=change.max_in_flight)
    if "reason" in given:
        override = replace(override, reason=_text(change.reason))
    if change.state is HostState.OPEN:
        host = host._replace(paused_until=None, slowdowns=0, failures=0, broken_until=None)
    is_empty = (override.state, override.delay_ms, override.max_in_flight) == (HostState.OPEN, None, None)
    return host._replace(override=None if is_empty else override)


def _shown(host: Host) -> dict[str, Any]:
    """What a change may touch, as the log has it."""
    override = asdict(host.override) if host.override is not None else None
    if override is not None:
        override["until"] = override["until"].isoformat()
    return {
        "override": override,
        "paused_until": host.paused_until.isoformat() if host.paused_until is not None else None,
        "broken_until": host.broken_until.isoformat() if host.broken_until is not None else None,
        "slowdowns": host.slowdowns,
        "failures": host.failures,
    }


def _text(text: str | None) -> str | None:
    """Without NULs, which Postgres does not take."""
    return text.replace("\0", "") if text is not None else None
