"""What the gateway tells on its feed."""

from typing import Any

from pydantic import AliasChoices, Field

from fetchwork._models import Answer


class Event(Answer):
    """One entry of the feed. `cursor` is its place: what comes after it can be asked for. `document` is what it says."""

    cursor: str
    type: str
    document: dict[str, Any] = Field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """What the event is about, without what is around it (CloudEvents)."""
        data = self.document.get("data", self.document)
        return data if isinstance(data, dict) else {}


class EventPage(Answer):
    """A part of the feed, and the cursor to go on from."""

    items: list[dict[str, Any]] = Field(default_factory=list)
    next_cursor: str | None = Field(default=None, validation_alias=AliasChoices("next_cursor", "next", "after"))
