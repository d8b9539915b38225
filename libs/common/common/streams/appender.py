"""Append entries to one stream, a whole set in one step of Redis's."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

APPEND = """\
local at = 1
while at <= #ARGV do
  local names, last = tonumber(ARGV[at]), at + 1 + ARGV[at] * (1 + ARGV[at + 1])
  local words = {}
  for name = 1, names do words[2 * name - 1] = ARGV[at + 1 + name] end
  at = at + 2 + names
  while at <= last do
    for name = 1, names do words[2 * name] = ARGV[at + name - 1] end
    redis.call('XADD', KEYS[1], '*', unpack(words))
    at = at + names
  end
end
"""
"""KEYS: the stream. ARGV, for entries with the same names that follow each other: how many names, how many entries, the names,
and of each entry its values. A word costs the caller about a microsecond.
"""

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
    for names, same in groupby(entries, key=tuple):
        alike = list(same)
        words += (len(names), len(alike), *names)
        for entry in alike:
            words += entry.values()
    return words
