"""Let a process hold as many sockets as it is allowed to."""

import resource


def raise_open_files_limit() -> None:
    """Raise the soft limit of open files to the hard one; the usual 1024 is fewer than the sockets that a service may hold."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
