"""What a route may use, handed to it by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated

from common.chassis.health import Check
from common.chassis.phase import Phase
from common.clock import Clock
from common.contracts.keys import Scope
from common.ids import new_fetch_id
from fastapi import Depends, Request, Security
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.params import Depends as Dependency
from fastapi.security.base import SecurityBase

from gateway.access.credentials import Credentials
from gateway.access.key_ring import KeyRing
from gateway.access.key_use import KeyUseReporter
from gateway.access.quotas import Quotas
from gateway.access.sessions import Sessions
from gateway.access.tickets import Tickets
from gateway.batches.limits import BatchSettings
from gateway.feed.reader import Feed
from gateway.feed.stream import StreamPace
from gateway.http.readiness import gateway_checks
from gateway.http.waiting_room import WaitingRoom
from gateway.idempotency.keys import KeyedRequest, Reserved
from gateway.idempotency.records import IdempotencyRecords
from gateway.metrics import GatewayMetrics
from gateway.plans.planner import Planner
from gateway.principal import Principal
from gateway.problems.answers import Problem, ProblemType
from gateway.promises.publish import Publisher
from gateway.status.overview import OverviewReader
from gateway.store_client import StoreClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The gateway's parts, as routes use them.

    `is_let_in` says of a caller who was let in whether it still would be; nothing waits longer than `wait_limit_seconds`.
    With `is_public_https` browsers come by https, whatever the proxy before us speaks with us.
    """

    publisher: Publisher
    quotas: Quotas
    store: StoreClient
    idempotency: IdempotencyRecords
    batches: BatchSettings
    feed: Feed
    tickets: Tickets
    sessions: Sessions
    credentials: Credentials
    overview: OverviewReader
    is_public_https: bool
    feed_clients: WaitingRoom
    waits: WaitingRoom
    batch_uploads: WaitingRoom
    stream_pace: StreamPace
    wait_limit_seconds: float
    is_let_in: Callable[[Principal], bool]
    planner: Planner
    metrics: GatewayMetrics
    clock: Clock
    key_ring: KeyRing
    key_uses: KeyUseReporter
    key_environment: str
    phase: Phase

    @property
    def checks(self) -> dict[str, Check]:
        """What must hold for this gateway to promise fetches. Reads may fail while the store is away; promises go on."""
        return gateway_checks(publisher=self.publisher, store=self.store, key_ring=self.key_ring)

    @property
    def dependencies(self) -> dict[str, Check]:
        """What is watched, also what readiness does not hang on."""
        return {"events": self.publisher.check, "store": self.store.check}


async def get_means(request: Request) -> Means:
    """The means of the application that serves this request."""
    means: Means = request.app.state.means
    return means


class Caller(SecurityBase):
    """Who asks, as the authentication found out; a route that depends on it needs an API key in the OpenAPI document."""

    def __init__(self) -> None:
        self.model = HTTPBearerModel(description="An API key of this deployment.")
        self.scheme_name = "apiKey"

    async def __call__(self, request: Request) -> Principal:
        """The principal that the authentication left in the request's state."""
        principal: Principal = request.state.principal
        return principal


def requires(scope: Scope) -> Dependency:
    """A route's dependency: keys without this scope are answered 403. The OpenAPI document names the scope."""

    async def check(principal: UsePrincipal) -> None:
        if scope not in principal.scopes:
            raise Problem(ProblemType.INSUFFICIENT_SCOPE, f"This needs a key with the scope `{scope}`.")

    dependency: Dependency = Security(check, scopes=[scope.value])
    return dependency


async def get_keyed_request(request: Request) -> KeyedRequest | None:
    """What the request is to be known by when it comes again; None when it came without an Idempotency-Key."""
    keyed: KeyedRequest | None = getattr(request.state, "idempotency", None)
    return keyed


async def get_reserved(request: Request) -> Reserved:
    """The id and time of what the request creates: those of its first try when it came before."""
    reserved: Reserved | None = getattr(request.state, "reserved", None)
    means: Means = request.app.state.means
    return reserved or Reserved(id=new_fetch_id(), at=means.clock())


async def get_read_at(request: Request) -> float:
    """When the whole body had been read, by `perf_counter`."""
    read_at: float = getattr(request.state, "read_at", None) or perf_counter()
    return read_at


UsePrincipal = Annotated[Principal, Security(Caller())]
UseMeans = Annotated[Means, Depends(get_means)]
UseKeyedRequest = Annotated[KeyedRequest | None, Depends(get_keyed_request)]
UseReserved = Annotated[Reserved, Depends(get_reserved)]
UseReadAt = Annotated[float, Depends(get_read_at)]
