"""Keep the addresses of refused targets where only operators look: out of what readers are shown, into the audit log."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from common.contracts.fetches import Evidence, FetchAttempted, Hop

from store.database import Connection
from store.fetches.storable import storable
from store.queries import query

INSERT = query("audit_insert")
ALLOWED_VERDICTS = frozenset({"public", "unsafe_network"})
"""The verdicts of targets that were dialled with our consent; any other one, also one that we do not know, hides addresses."""
REFUSED_PREFIX = "deny_"
HOST_LIMIT_CHARACTERS = 300


def presentable(evidence: Evidence) -> Evidence:
    """The evidence without the addresses of hops that were not allowed."""
    if all(hop.verdict in ALLOWED_VERDICTS or not (hop.addresses or hop.peer) for hop in evidence.hops):
        return evidence
    return evidence.model_copy(update={"hops": tuple(_presentable_hop(hop) for hop in evidence.hops)})


async def write_audit(connection: Connection, attempts: Sequence[FetchAttempted]) -> None:
    """One row for each refused target of these attempts, in the caller's transaction. Call it once an attempt."""
    refused = [
        (attempted, hop)
        for attempted in attempts
        for hop in attempted.outcome.evidence.hops
        if hop.verdict.startswith(REFUSED_PREFIX)
    ]
    if refused:
        await connection.execute(
            INSERT,
            [attempted.finished_at for attempted, _ in refused],
            [attempted.id for attempted, _ in refused],
            [attempted.dispatch_seq for attempted, _ in refused],
            [_host(hop) for _, hop in refused],
            [storable(hop.verdict) for _, hop in refused],
            [storable(",".join(hop.addresses)) for _, hop in refused],
            [storable(hop.peer) for _, hop in refused],
        )


def _presentable_hop(hop: Hop) -> Hop:
    return hop if hop.verdict in ALLOWED_VERDICTS else hop.model_copy(update={"addresses": (), "peer": None})


def _host(hop: Hop) -> str:
    try:
        host = urlsplit(hop.url).hostname or ""
    except ValueError:
        host = ""
    return host.replace("\0", "")[:HOST_LIMIT_CHARACTERS]
