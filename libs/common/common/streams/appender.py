"""Append entries to one stream, a whole set in one step of Redis's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

APPEND = """\
local at = 1
while at <= #ARGV do
  local last = at + ARGV[at]
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, last))
  at = last + 1
end
"""
"""KEYS: the stream. ARGV: of each entry how many words follow, then its names and values in turn."""

Entry = Mapping[bytes, bytes]

log = structlog.get_logger()


class Appender:
    """What appends to one stream. A script takes a set in, since a command and its answer for each entry cost both sides more."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self._redis = redis
        self._stream = stream
        self._script = redis.register_script(APPEND)
        self._may_run_scripts = True

    async def append(self, entries: Sequence[Entry]) -> None:
        """Append all in order, in one round trip. Raises redis errors; after one, each may or may not have been appended.

        Where our user may not run scripts yet, a command is sent for each: an operator's older list of rights must not stop all
        work.
        """
        if self._may_run_scripts:
            try:
                await self._script(keys=[self._stream], args=_words(entries))
            except NoPermissionError:
                self._may_run_scripts = False
                remedy = "give this user EVALSHA on the stream and SCRIPT LOAD"
                log.warning("entries are appended one by one", stream=self._stream, remedy=remedy)
            else:
                return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for entry in entries:
                fields: dict[Any, Any] = dict(entry)
                pipeline.xadd(self._stream, fields)
            await pipeline.execute()


def _words(entries: Iterable[Entry]) -> list[bytes | int]:
    words: list[bytes | int] = []
    for entry in entries:
        words.append(2 * len(entry))
        for name, value in entry.items():
            words += (name, value)
    return words
