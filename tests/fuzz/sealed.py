"""Run a module in an interpreter that reaches nothing but this machine: `python sealed.py MODULE ARGUMENT…`.

What is generated names hosts of strangers. Here every name but localhost is unknown, and every other address unreachable, by
an audit hook (PEP 578), which nothing in the process can take away. libuv's own connections raise no audit events; the
fetcher dials with sockets of its own, which do.
"""

import errno
import runpy
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

LOCAL_NAMES = frozenset({None, "", "localhost"})


def is_local(host: object) -> bool:
    """Whether this names nothing but the machine itself."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in LOCAL_NAMES:
        return True
    try:
        return ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse_strangers(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook. Raises OSError for a lookup, a connection or a datagram to another machine."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex") and not is_local(arguments[0]):
        raise socket.gaierror(socket.EAI_NONAME, "There are no strangers here.")
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not is_local(address[0]):
            raise OSError(errno.ENETUNREACH, "There are no strangers here.")


def main(arguments: Sequence[str]) -> None:
    """Seal this interpreter and run the module that the first argument names."""
    sys.addaudithook(refuse_strangers)
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
