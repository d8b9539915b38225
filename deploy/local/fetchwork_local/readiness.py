"""Find out whether a stack serves: its gateway says so, and a first fetch goes the whole way. And if not, why not."""

import ssl
import time
from collections.abc import Callable, Mapping

import httpx2

from fetchwork_local.errors import NotReady
from fetchwork_local.home import Home
from fetchwork_local.logs import tail
from fetchwork_local.ports import DEMO_ADDRESS, LOOPBACK
from fetchwork_local.state import StackState
from fetchwork_local.waiting import wait_until

ANSWER_TIMEOUT_SECONDS = 5.0
FETCH_TIMEOUT_SECONDS = 10.0
LOG_LINES_SHOWN = 12
ASK_AGAIN = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE, httpx2.codes.UNAUTHORIZED)
"""Unauthorized: the gateway of another stack took the port just now. Ours fails to bind, and that is what we report."""
PENDING = ("queued", "running")


def demo_url(state: StackState) -> str:
    """The home page of the demo origin."""
    return f"http://{DEMO_ADDRESS}:{state.ports.demo}/"


def metrics_urls(state: StackState) -> dict[str, str]:
    """Where each service shows its metrics."""
    ports = {"gateway": state.ports.gateway_metrics, "fetcher": state.ports.fetcher_metrics, "store": state.ports.store_metrics}
    return {name: f"http://{LOOPBACK}:{port}/metrics" for name, port in ports.items()}


def is_ready(state: StackState) -> bool:
    """True when the gateway says that it can serve."""
    with _gateway(state) as gateway:
        return _says_ready(gateway)


def fetch_demo_origin(
    state: StackState,
    *,
    timeout_seconds: float,
    check: Callable[[], None],
    interrupted: Callable[[], bool],
    progress: Callable[[str], None],
) -> None:
    """Wait until all services are ready and one fetch succeeded. `check` runs at every turn and raises when waiting is useless.

    Raises NotReady, TimeoutError or Interrupted.
    """
    deadline = time.monotonic() + timeout_seconds

    def wait(condition: Callable[[], str | None]) -> str:
        def checked() -> str | None:
            check()
            return condition()

        return wait_until(checked, timeout_seconds=deadline - time.monotonic(), interrupted=interrupted)

    with _gateway(state) as gateway:
        progress("Waiting for the services")
        wait(lambda: "ready" if _says_ready(gateway) and not _unready_services(state) else None)
        progress("Fetching the demo origin")
        location = wait(lambda: _submit(gateway, demo_url(state)))
        wait(lambda: _success(gateway, location))


def diagnose(home: Home, state: StackState, *, starts: Mapping[str, int]) -> str:
    """Which programs are not well, each with the last lines of its log. `starts` counts how often each was seen started."""
    if not starts:
        return "\n".join(("supervisord did not start", *tail(home.logs / "supervisord.start.log", lines=LOG_LINES_SHOWN)))
    faults = {name: f"{name} does not stay up: {count} starts" for name, count in starts.items() if count != 1}
    faults |= {name: f"{name} is not ready: {reason}" for name, reason in _unready_services(state).items() if name not in faults}
    if not faults:
        faults["fetcher"] = "every process says that it is well; here is what the fetcher did"
    return "\n".join(
        line
        for name, fault in faults.items()
        for line in (fault, *(f"  {line}" for line in tail(home.logs / f"{name}.log", lines=LOG_LINES_SHOWN)))
    )


def _gateway(state: StackState) -> httpx2.Client:
    client = _plain_client()
    client.base_url = state.gateway_url
    client.headers["Authorization"] = f"Bearer {state.secrets.api_key}"
    return client


def _plain_client() -> httpx2.Client:
    """For plain HTTP on our own machine: no proxy, and an empty TLS context, since the default one takes 70 ms to load."""
    return httpx2.Client(timeout=ANSWER_TIMEOUT_SECONDS, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def _says_ready(gateway: httpx2.Client) -> bool:
    try:
        return gateway.get("/readyz").status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def _submit(gateway: httpx2.Client, url: str) -> str | None:
    """Where the fetch can be followed; None when we should ask again."""
    try:
        answer = gateway.post("/v1/fetches", json={"url": url, "timeout_seconds": FETCH_TIMEOUT_SECONDS})
    except httpx2.TransportError:
        return None
    if answer.status_code in ASK_AGAIN:
        return None
    if answer.status_code != httpx2.codes.ACCEPTED:
        raise NotReady(f"The gateway refused the first fetch with status {answer.status_code}: {answer.text[:500]}")
    return f"/v1/fetches/{answer.json()['id']}"


def _success(gateway: httpx2.Client, location: str) -> str | None:
    try:
        answer = gateway.get(location)
    except httpx2.TransportError:
        return None
    fetch = answer.json() if answer.status_code == httpx2.codes.OK else {"status": PENDING[0]}
    if fetch["status"] in PENDING:
        return None
    if fetch["status"] != "succeeded":
        raise NotReady(f"The first fetch ended {fetch['status']}: {fetch.get('error')}")
    return location


def _unready_services(state: StackState) -> dict[str, str]:
    """Services that do not say that they are ready, and what they say instead."""
    urls = {name: url.replace("/metrics", "/readyz?verbose") for name, url in metrics_urls(state).items()}
    with _plain_client() as client:
        found = {name: _not_ready_reason(client, url) for name, url in urls.items()}
    return {name: reason for name, reason in found.items() if reason}


def _not_ready_reason(client: httpx2.Client, url: str) -> str | None:
    try:
        answer = client.get(url)
    except httpx2.TransportError as error:
        return f"no answer ({type(error).__name__})"
    return None if answer.status_code == httpx2.codes.OK else " ".join(answer.text.split())
