"""What every group of calls stands on: the connections to the gateway, and how a list is walked."""

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from pydantic import ValidationError

from fetchwork._errors import GatewayUnreachable
from fetchwork._models import Answer, Page
from fetchwork._transport import Transport, read

PAGE_ITEMS = 100

Item = TypeVar("Item", bound=Answer)


class Calls:
    """A group of calls to one gateway."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _walk(
        self, path: str, kind: type[Item], filters: Mapping[str, str | None], limit: int | None
    ) -> AsyncIterator[Item]:
        """The items of a list, page after page, `limit` at most."""
        query = {name: value for name, value in filters.items() if value is not None}
        left, cursor = limit, ""
        while left is None or left > 0:
            size = PAGE_ITEMS if left is None else min(left, PAGE_ITEMS)
            asked = {**query, "limit": str(size), **({"cursor": cursor} if cursor else {})}
            page = read(Page, await self._transport.call("GET", path, params=asked))
            for item in page.items[:size]:
                yield _item(kind, item)
            left = None if left is None else left - len(page.items)
            if not page.next_cursor or page.next_cursor == cursor:
                return
            cursor = page.next_cursor


def _item(kind: type[Item], item: object) -> Item:
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        raise GatewayUnreachable("a list does not hold what a Fetchwork gateway would send") from error
