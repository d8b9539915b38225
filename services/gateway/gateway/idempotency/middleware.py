"""Answer a POST that came with an Idempotency-Key once: later tries get the first one's answer, byte for byte.

An answer is final unless it asks to come back: what was refused for now (`Retry-After`) or failed on our side is tried again.
Routes that keep their own records are told below, and find the key in their request's state.
"""

from contextlib import suppress
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from gateway.errors import GatewayError
from gateway.http.body_limit import replay_body
from gateway.idempotency.keys import HEADER, Fingerprint, KeyedRequest, bearer_of, read_key, record_name
from gateway.idempotency.records import Answer, Conflict, Fresh, IdempotencyRecords, Replay
from gateway.principal import Principal
from gateway.problems.answers import REGISTRY, Problem, ProblemType, gateway_error_response, problem_answer, problem_response

KEPT_WITH_THE_PROMISE = frozenset({"/v1/fetches"})
"""Paths whose record is made in one step with what they promise (`accept.lua`)."""
KEPT_BY_ROUTE = frozenset({"/v1/batches"})
"""Paths whose body streams: the route claims at once, and names the fingerprint at the body's end."""


class Idempotency:
    """ASGI middleware, inside authentication and the limit of bodies.

    Leaves in the request's state what it is known by (`idempotency`) and, where it claims itself, what is `reserved`.
    """

    def __init__(self, app: ASGIApp, *, records: IdempotencyRecords) -> None:
        self._app = app
        self._records = records

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer the request, or replay its answer, or refuse its key: 400, 409 or 422."""
        principal: Principal | None = scope.get("state", {}).get("principal")
        keys = [value for name, value in scope.get("headers", ()) if name == HEADER]
        if principal is None or not keys or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        key = read_key(keys)
        if key is None:
            refusal = ProblemType.IDEMPOTENCY_KEY_MALFORMED
            await problem_response(refusal, REGISTRY[refusal].remedy, instance=scope["path"])(scope, receive, send)
            return
        fingerprint = None
        if scope["path"] not in KEPT_BY_ROUTE:
            body = await _whole(receive)
            fingerprint, receive = _fingerprint(scope, body), replay_body(body, receive)
        request = KeyedRequest(
            tenant=principal.tenant,
            record=record_name(principal.tenant, key),
            fingerprint=fingerprint,
            bearer=bearer_of(scope),
        )
        scope["state"]["idempotency"] = request
        if scope["path"] in KEPT_WITH_THE_PROMISE | KEPT_BY_ROUTE:
            await self._app(scope, receive, send)
        else:
            await self._once(request, scope, receive, send)

    async def _once(self, request: KeyedRequest, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            found = await self._records.claim(request)
        except GatewayError as error:
            await gateway_error_response(error, instance=scope["path"])(scope, receive, send)
            return
        if isinstance(found, Conflict):
            await problem_answer(Problem.of_key(found.verdict), instance=scope["path"])(scope, receive, send)
        elif isinstance(found, Replay):
            await found.answer.replay()(scope, receive, send)
        else:
            await self._answer(found, scope, receive, send)

    async def _answer(self, claim: Fresh, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Run the application, and keep its answer before it is sent. When it raises, the next try may take over at once."""
        scope["state"]["reserved"] = claim.reserved
        held = _HeldAnswer(send, limit_bytes=self._records.answer_limit_bytes)
        try:
            await self._app(scope, receive, held.send)
        except Exception:
            with suppress(GatewayError):  # then its lease ends
                await self._records.release(claim)
            raise
        with suppress(GatewayError):
            await self._keep(claim, held)
        await held.let_go()

    async def _keep(self, claim: Fresh, held: "_HeldAnswer") -> None:
        status = held.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            await self._records.release(claim)
        elif HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST or held.asks_to_come_back:
            await self._records.forget(claim)
        else:
            await self._records.complete(claim, held.answer)


class _HeldAnswer:
    """An answer held back until it is let go, or has more than `limit_bytes`; what comes after those is sent as it comes."""

    def __init__(self, send: Send, *, limit_bytes: int) -> None:
        self._send = send
        self._limit_bytes = limit_bytes
        self._messages: list[Message] = []
        self._body = bytearray()
        self._is_held = True
        self._start: Message = {"status": HTTPStatus.INTERNAL_SERVER_ERROR, "headers": []}

    async def send(self, message: Message) -> None:
        """Take one message of the answer."""
        if message["type"] == "http.response.start":
            self._start = message
        if not self._is_held:
            await self._send(message)
            return
        self._messages.append(message)
        self._body += message.get("body", b"")
        if len(self._body) > self._limit_bytes:
            await self.let_go()

    async def let_go(self) -> None:
        """Send what is held back, and hold nothing any more."""
        self._is_held = False
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)

    @property
    def status(self) -> int:
        """Its status."""
        return int(self._start["status"])

    @property
    def asks_to_come_back(self) -> bool:
        """Whether it refuses for now, and says when to send the request again."""
        return self.status >= HTTPStatus.BAD_REQUEST and any(name == b"retry-after" for name, _ in self._start["headers"])

    @property
    def answer(self) -> Answer:
        """All that was held: the whole answer, or more of it than the limit."""
        return Answer(status=self.status, headers=tuple(self._start["headers"]), body=bytes(self._body))


async def _whole(receive: Receive) -> bytes:
    """The body, which the limit of bodies has in memory."""
    body, has_more = bytearray(), True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = bool(message.get("more_body", False))
    return bytes(body)


def _fingerprint(scope: AsgiScope, body: bytes) -> bytes:
    fingerprint = Fingerprint(scope)
    fingerprint.update(body)
    return fingerprint.digest()
