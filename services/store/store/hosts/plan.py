"""What an attempt on a host would meet now, of hosts that are known and of those that nobody asked for yet."""

from collections.abc import Sequence
from datetime import datetime

from common.contracts.hosts import HostState
from common.contracts.plans import HostPlan

from store.database import Pool, fetch_rows
from store.hosts.pace import Host, PaceSettings, opens_at, pace_in_force, state_in_force
from store.hosts.rows import host_of_row
from store.hosts.waiting import waiting_at
from store.queries import query

NAMED = query("hosts_named")


async def plan_hosts(
    pool: Pool, names: Sequence[str], settings: PaceSettings, *, now: datetime | None = None
) -> list[HostPlan]:
    """These hosts in their order. Writes nothing: a host that is planned is not met. Raises DatabaseUnavailable."""
    if not names:
        return []
    rows = await fetch_rows(pool, NAMED, list(names), now)
    known = {row["name"]: host_of_row(row) for row in rows if row["host"] is not None}
    return [plan_host(known.get(name) or Host(host=name), settings, now=rows[0]["now"]) for name in names]


def plan_host(host: Host, settings: PaceSettings, *, now: datetime) -> HostPlan:
    """The host's plan at the time `now`. Pure."""
    state = state_in_force(host, now=now)
    opens = opens_at(host._replace(lanes=()), settings, now=now)
    return HostPlan(
        host=host.host,
        state=state,
        pace=pace_in_force(host, settings, now=now),
        waiting=None if state is HostState.BANNED else waiting_at(host, settings, now=now),
        opens_at=opens if opens > now else None,
    )
