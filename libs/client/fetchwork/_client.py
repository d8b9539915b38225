"""Talk to a gateway: submit, look, wait, read. Every call has a timeout; what may safely be repeated is, a few times."""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx2
from pydantic import ValidationError

from fetchwork._errors import (
    FetchNotFound,
    FetchworkError,
    GatewayUnreachable,
    NeverSent,
    NotAuthorized,
    ProblemError,
    WaitTimeout,
)
from fetchwork._models import Fetch

CALL_TIMEOUT_SECONDS = 30.0
TRIES = 4
BACKOFF_FIRST_SECONDS = 0.2
RETRY_AFTER_LIMIT_SECONDS = 30.0
"""A gateway that asks for more patience than this is believed, and its refusal reported."""
POLL_FIRST_SECONDS = 0.05
POLL_GROWTH = 1.5
POLL_LIMIT_SECONDS = 1.0
CONNECTIONS = 32
BUSY = frozenset({httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE})
"""With these the gateway promised nothing, so that a POST may be sent again, too."""
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
REFUSALS: Mapping[int, type[ProblemError]] = {401: NotAuthorized, 403: NotAuthorized, 404: FetchNotFound}
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Client:
    """A gateway and a key. Use it as an async context manager; any number of tasks may share it."""

    def __init__(self, url: str, api_key: str, *, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> None:
        address = _address(url)
        self._http = httpx2.AsyncClient(
            base_url=address,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            # No proxy stands between us and our own machine, whatever the environment says.
            trust_env=address.host not in LOOPBACK_HOSTS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def submit(
        self,
        url: str,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int | None = None,
        delay_seconds: float | None = None,
        body: str | bytes | None = None,
        max_age_seconds: float | None = None,
        robots: str | None = None,
    ) -> Fetch:
        """Have one URL fetched; returns once that is promised, not once it is done. Raises FetchworkError.

        A body of type str is sent as UTF-8. A stored response of at most `max_age_seconds` may answer. `robots` is "obey" or
        "ignore".
        """
        members = {
            "url": url,
            "method": method,
            "headers": headers,
            "timeout_seconds": timeout_seconds,
            "max_bytes": max_bytes,
            "delay_seconds": delay_seconds,
            "body": {"base64": b64encode(body).decode()} if isinstance(body, bytes) else body,
            "max_age_seconds": max_age_seconds,
            "robots": robots,
        }
        request = {name: value for name, value in members.items() if value is not None}
        return _fetch(await self._call("POST", "/v1/fetches", json=request, headers={"Idempotency-Key": str(uuid4())}))

    async def get(self, fetch_id: str) -> Fetch:
        """How a fetch is doing now. Raises FetchNotFound and other FetchworkErrors."""
        return _fetch(await self._call("GET", f"/v1/fetches/{fetch_id}"))

    async def content(self, fetch_id: str) -> bytes:
        """The body that was fetched, decoded. Raises FetchNotFound when there is none, and other FetchworkErrors."""
        return (await self._call("GET", f"/v1/fetches/{fetch_id}/content")).content

    async def wait(self, fetch_id: str, *, wait_seconds: float) -> Fetch:
        """The fetch once it is finished. Raises WaitTimeout after `wait_seconds`, and other FetchworkErrors."""
        deadline = time.monotonic() + wait_seconds
        pause = POLL_FIRST_SECONDS
        while not (fetch := await self.get(fetch_id)).is_finished:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(fetch)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * POLL_GROWTH, POLL_LIMIT_SECONDS)
        return fetch

    async def _call(self, method: str, path: str, **request: Any) -> httpx2.Response:
        for pause in (BACKOFF_FIRST_SECONDS * 2**number for number in range(TRIES - 1)):
            try:
                return await self._exchange(method, path, **request)
            except FetchworkError as error:
                asked = _patience(error, is_repeatable=method == "GET")
                if asked is None:
                    raise
            await asyncio.sleep(asked or pause * random.uniform(0.5, 1))  # nosec B311
        return await self._exchange(method, path, **request)

    async def _exchange(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """One request and its answer. Foreign exceptions and refusals become ours here and nowhere else."""
        try:
            answer = await self._http.request(method, path, **request)
        except httpx2.TransportError as error:
            kind = NeverSent if isinstance(error, NEVER_SENT) else GatewayUnreachable
            raise kind(f"{self._http.base_url} does not answer: {str(error) or type(error).__name__}") from error
        if answer.is_success:
            return answer
        refusal = REFUSALS.get(answer.status_code, ProblemError)
        raise refusal(answer.status_code, _document(answer), _retry_after_seconds(answer))


def _address(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise GatewayUnreachable(f"{url!r} is not a URL") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise GatewayUnreachable(f"{url!r} is not the address of a gateway; write it as http://host:port")
    return address


def _patience(error: FetchworkError, *, is_repeatable: bool) -> float | None:
    """Seconds to wait before another try, 0 for our own choice, None when there should be none."""
    if isinstance(error, ProblemError) and error.status in BUSY:
        asked = error.retry_after_seconds or 0.0
        return asked if asked <= RETRY_AFTER_LIMIT_SECONDS else None
    if isinstance(error, GatewayUnreachable) and (is_repeatable or isinstance(error, NeverSent)):
        return 0.0
    return None


def _retry_after_seconds(answer: httpx2.Response) -> float | None:
    """The delay form of Retry-After (RFC 9110 section 10.2.3); gateways do not send the date form."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {"detail": answer.text[:200]}
    return document if isinstance(document, dict) else {}


def _fetch(answer: httpx2.Response) -> Fetch:
    try:
        return Fetch.model_validate_json(answer.content)
    except ValidationError as error:
        raise GatewayUnreachable(f"{answer.url.host} does not answer like a Fetchwork gateway") from error
