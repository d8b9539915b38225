"""Find what was promised wherever it is: in the ledger, or on its way into it (P6)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import StoreUnavailable

View = TypeVar("View")


async def look_up(read: Callable[[], Awaitable[View | None]], promised: Callable[[], Awaitable[View | None]]) -> View | None:
    """What the ledger has, or what was promised and has not reached it yet; None when there is neither.

    A promise leaves Redis only after it is in the ledger, so one that is in neither at first is in the ledger by now. Raises
    StoreUnavailable when the store is away and nothing was promised, and EventsUnavailable.
    """
    try:
        view = await read()
    except StoreUnavailable:
        found = await promised()
        if found is None:
            raise
        return found
    return view or await promised() or await read()
