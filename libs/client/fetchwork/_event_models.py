"""What the gateway tells on its feed."""

from typing import Any

from pydantic import Field

from fetchwork._models import Answer

GAP = "gap"
"""The type of an entry that is no event: some events behind the asked cursor are not kept any more."""


class Event(Answer):
    """One event. `document` is all that was told (CloudEvents 1.0); its `id` stays the same when it is told again.

    Everything behind this event comes behind `cursor`; of an event from a page, perhaps others of that page once more.
    """

    cursor: str
    type: str
    document: dict[str, Any] = Field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """What the event is about, without what is around it."""
        data = self.document.get("data")
        return data if isinstance(data, dict) else {}


class EventPage(Answer):
    """Events in order, and the cursor behind them. `gap` is the oldest cursor that is kept, where older ones were asked for."""

    items: list[dict[str, Any]] = Field(default_factory=list)
    next_cursor: str
    gap: str | None = None
