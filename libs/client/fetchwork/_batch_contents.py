"""Save what a batch fetched: a file for each content, and `fetches.ndjson` that says which is which."""

import asyncio
import json
import mimetypes
from pathlib import Path
from uuid import UUID

from fetchwork._batch_file import LINE_ATTR
from fetchwork._client import Client
from fetchwork._errors import FetchworkError, NotFound
from fetchwork._models import Fetch
from fetchwork._results import fetch_document

INDEX = "fetches.ndjson"
SAVES_LIMIT = 8


class BatchContents:
    """The folder of one batch. Files that are there already are not asked for again: what was fetched never changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._types = mimetypes.MimeTypes()
        self._faults: list[FetchworkError | OSError] = []
        self.missing = 0

    async def save(self, client: Client, batch_id: str) -> None:
        """Save all contents of a finished batch; counts in `missing` those that are gone. Raises FetchworkError and OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        limit = asyncio.Semaphore(SAVES_LIMIT)
        with (self._folder / INDEX).open("w") as index:
            async with asyncio.TaskGroup() as group:
                async for fetch in client.list_fetches(batch_id=batch_id):
                    name = self._name(fetch) if fetch.is_succeeded else None
                    print(json.dumps({"file": name, **fetch_document(fetch)}), file=index)
                    if self._faults:
                        break
                    if name is not None:
                        await limit.acquire()
                        group.create_task(self._save(client, fetch, self._folder / name, limit))
        if self._faults:
            raise self._faults[0]

    async def _save(self, client: Client, fetch: Fetch, path: Path, limit: asyncio.Semaphore) -> None:
        try:
            if fetch.response is None or fetch.response.digest is None:
                path.touch()
            elif not path.exists():
                await client.save_content(fetch.id, path)
        except NotFound:
            self.missing += 1
        except (FetchworkError, OSError) as fault:
            self._faults.append(fault)
        finally:
            limit.release()

    def _name(self, fetch: Fetch) -> str:
        """The line in the file and the id, with what the media type suggests; nothing that a remote host could choose freely."""
        line = fetch.attrs.get(LINE_ATTR)
        prefix = f"{line}-" if isinstance(line, int) else ""
        media_type = (fetch.response.media_type or "") if fetch.response else ""
        return f"{prefix}{UUID(fetch.id)}{self._types.guess_extension(media_type) or ''}"
