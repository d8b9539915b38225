"""What time it is for the ledger: what the store tells fetchers."""

from pydantic import AwareDatetime

from common.contracts.envelope import Message


class LedgerTime(Message):
    """Postgres's clock, which every lease and every pace follows."""

    now: AwareDatetime
