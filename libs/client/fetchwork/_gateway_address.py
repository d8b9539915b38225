"""Which gateway to ask, with which key: from the environment, else from the stack that runs on this machine."""

import os
from dataclasses import dataclass

from fetchwork._exit_codes import ExitCode
from fetchwork._terminal import give_up


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayAddress:
    """Where the gateway is, and the key for it."""

    url: str
    api_key: str


def find_gateway() -> GatewayAddress:
    """FETCHWORK_URL and FETCHWORK_API_KEY, or the running stack of FETCHWORK_HOME. Ends the command when there is neither."""
    url, api_key = os.environ.get("FETCHWORK_URL"), os.environ.get("FETCHWORK_API_KEY")
    if url and not api_key:
        give_up("FETCHWORK_URL is set and FETCHWORK_API_KEY is not; set both.", ExitCode.UNREACHABLE)
    if url and api_key:
        return GatewayAddress(url=url, api_key=api_key)
    running = _running_stack()
    if running is None:
        hint = "start one with `fetchwork up`, or set FETCHWORK_URL and FETCHWORK_API_KEY"
        give_up(f"no stack runs here; {hint}.", ExitCode.UNREACHABLE)
    return GatewayAddress(url=running.url, api_key=api_key or running.api_key)


def _running_stack() -> GatewayAddress | None:
    try:
        from fetchwork_local.errors import StackError
        from fetchwork_local.stack import Stack
    except ModuleNotFoundError:
        return None
    try:
        status = Stack().status()
    except StackError as error:
        give_up(str(error), ExitCode.UNREACHABLE)
    return GatewayAddress(url=status.gateway, api_key=status.api_key) if status.gateway and status.api_key else None
