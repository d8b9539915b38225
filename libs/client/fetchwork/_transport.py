"""Requests to a gateway and their answers. Every call has a timeout; what may safely be repeated is, a few times."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from fetchwork._errors import FetchworkError, GatewayUnreachable, NeverSent, NotAuthorized, NotFound, ProblemError
from fetchwork._patience import Patience, Repeat

CONNECTIONS = 32
REPEATABLE = frozenset({"GET", "DELETE"})
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
REFUSALS: Mapping[int, type[ProblemError]] = {401: NotAuthorized, 403: NotAuthorized, 404: NotFound}
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

Body = Callable[[], AsyncIterable[bytes]]
"""Makes a body anew for each try."""
Document = TypeVar("Document", bound=BaseModel)


class Transport:
    """The connections to one gateway, with one key. Any number of tasks may share it."""

    def __init__(self, url: str, api_key: str, *, timeout_seconds: float) -> None:
        address = _address(url)
        self.timeout_seconds = timeout_seconds
        self._http = httpx2.AsyncClient(
            base_url=address,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            # No proxy stands between us and our own machine, whatever the environment says.
            trust_env=address.host not in LOOPBACK_HOSTS,
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        repeat: Repeat | None = None,
        body: Body | None = None,
        reading_seconds: float = 0.0,
        **request: Any,
    ) -> httpx2.Response:
        """The answer to one request, read to its end. The gateway may take `reading_seconds` more than usual to begin it.

        Unless `repeat` says so, only GET and DELETE are sent again when the gateway may have seen them. Raises FetchworkError.
        """
        patience = Patience(repeat or (Repeat.ALWAYS if method in REPEATABLE else Repeat.IF_UNSEEN))
        if reading_seconds:
            request["timeout"] = httpx2.Timeout(self.timeout_seconds, read=self.timeout_seconds + reading_seconds)
        while True:
            try:
                async with self.open(method, path, **request, **({"content": body()} if body else {})) as answer:
                    await answer.aread()
                return answer
            except FetchworkError as error:
                pause = patience.pause_seconds(error)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def open(self, method: str, path: str, **request: Any) -> AsyncIterator[httpx2.Response]:
        """One request, once, and its answer to read from. Foreign exceptions and refusals become ours here and nowhere else."""
        try:
            async with self._http.stream(method, path, **request) as answer:
                if not answer.is_success:
                    refusal = REFUSALS.get(answer.status_code, ProblemError)
                    raise refusal(answer.status_code, await _document(answer), _retry_after_seconds(answer))
                yield answer
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            kind = NeverSent if isinstance(error, NEVER_SENT) else GatewayUnreachable
            raise kind(f"{self._http.base_url} does not answer: {str(error) or type(error).__name__}") from error


def read(kind: type[Document], answer: httpx2.Response) -> Document:
    """The document in an answer. Raises GatewayUnreachable when there is another than a gateway would send."""
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise GatewayUnreachable(f"{answer.url.host} does not answer like a Fetchwork gateway") from error


def _address(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise GatewayUnreachable(f"{url!r} is not a URL") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise GatewayUnreachable(f"{url!r} is not the address of a gateway; write it as http://host:port")
    return address


def _retry_after_seconds(answer: httpx2.Response) -> float | None:
    """The delay form of Retry-After (RFC 9110 section 10.2.3); gateways do not send the date form."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


async def _document(answer: httpx2.Response) -> dict[str, Any]:
    """The problem document of a refusal, or what there is in its place."""
    try:
        await answer.aread()
        document = answer.json()
    except ValueError:
        return {"detail": answer.text[:200]}
    return document if isinstance(document, dict) else {}
