"""What operators did and which targets were refused, as operators read it. Nobody changes either."""

from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue

from common.contracts.envelope import Message


class OperationView(Message):
    """One thing that an operator did."""

    id: int
    at: AwareDatetime
    actor: str = Field(description="`key:` and what names the key that it was done with.")
    action: str = Field(description="Such as `key.create`, `host.change` or `dead_letter.redrive`.")
    subject: str = Field(description="What it was done to: the id of a key, the name of a host.")
    detail: dict[str, JsonValue]


class OperationPage(Message):
    """What operators did, the newest first. `next_cursor` is absent on the last page."""

    items: list[OperationView]
    next_cursor: str | None = None


class RefusalView(Message):
    """One target that an attempt was not let through to, with the addresses that nobody else is shown."""

    id: int
    at: AwareDatetime
    fetch_id: UUID
    attempt: int
    host: str
    verdict: str
    addresses: list[str]
    peer: str | None = None


class RefusalPage(Message):
    """Refused targets, the newest first. `next_cursor` is absent on the last page."""

    items: list[RefusalView]
    next_cursor: str | None = None
