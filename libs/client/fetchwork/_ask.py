"""Ask the gateway something; when that fails, end the command with the reason and its exit code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from fetchwork._client import Client
from fetchwork._errors import FetchworkError
from fetchwork._exit_codes import ExitCode, code_of
from fetchwork._gateway_address import GatewayAddress, find_gateway
from fetchwork._terminal import harmless, say

Answered = TypeVar("Answered")
Question = Callable[[Client], Awaitable[Answered]]


def ask(question: Question[Answered], *, hint: str = "") -> Answered:
    """The answer. `hint` is said when there is none, also after Ctrl-C: what goes on without us, and how to come back to it."""
    address = find_gateway()
    try:
        return asyncio.run(_put(question, address))
    except FetchworkError as error:
        message, code = str(error), code_of(error)
    except OSError as error:
        message, code = f"{error.filename or 'a file'}: {error.strerror}", ExitCode.UNEXPECTED
    except KeyboardInterrupt:
        say(hint or "interrupted.")
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    say(f"error: {harmless(message)}")
    if hint:
        say(hint)
    raise typer.Exit(int(code))


async def _put(question: Question[Answered], address: GatewayAddress) -> Answered:
    async with Client(address.url, address.api_key) as client:
        return await question(client)
