"""What a request would like (RFC 7240): `wait=N` and `respond-async`. Anything else, and what is malformed, is ignored."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
PART = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""One preference with its parameters; commas within quotes do not end it."""
PREFERENCE = re.compile(rf'[ \t]*({NAME})(?:[ \t]*=[ \t]*(?:({NAME})|"((?:[^"\\]|\\.)*)"))?[ \t]*(?:;.*)?', re.DOTALL)
SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How long the client would wait for a result, in seconds, and whether it would rather not."""

    wait_seconds: int | None = None
    respond_async: bool = False


def read_preferences(fields: Iterable[str]) -> Preferences:
    """The preferences of the `Prefer` fields of a request. Of one that is given twice the first counts (section 2)."""
    given: dict[str, str] = {}
    for part in (part for field in fields for part in PART.findall(field)):
        if preference := PREFERENCE.fullmatch(part):
            name, token, quoted = preference.groups()
            given.setdefault(name.lower(), token or quoted or "")
    wait = given.get("wait", "")
    return Preferences(
        wait_seconds=int(wait) if SECONDS.fullmatch(wait) else None, respond_async=given.get("respond-async") == ""
    )


async def get_preferences(
    request: Request,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: seconds to wait for the fetch to end; `respond-async`: rather not (RFC 7240).")
    ] = None,
) -> Preferences:
    """What the request would like, for routes: of all its `Prefer` fields, where `prefer` is only one."""
    return read_preferences(request.headers.getlist("prefer") if prefer is not None else ())


UsePreferences = Annotated[Preferences, Depends(get_preferences)]
