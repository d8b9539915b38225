"""What a route may use, handed to it by the composition root."""

from dataclasses import dataclass
from typing import Annotated

from common.chassis.health import Check
from common.clock import Clock
from common.contracts.keys import Scope
from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from gateway.key_ring import KeyRing
from gateway.key_use import KeyUseReporter
from gateway.metrics import GatewayMetrics
from gateway.principal import Principal
from gateway.problems import Problem, ProblemType
from gateway.publish import Publisher
from gateway.store_client import StoreClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The gateway's parts, as routes use them."""

    publisher: Publisher
    store: StoreClient
    metrics: GatewayMetrics
    clock: Clock
    key_ring: KeyRing
    key_uses: KeyUseReporter
    key_environment: str

    @property
    def checks(self) -> dict[str, Check]:
        """What must hold for this gateway to promise fetches. Reads may fail while the store is away; promises go on."""
        return {"events": self.publisher.check}


async def get_means(request: Request) -> Means:
    """The means of the application that serves this request."""
    means: Means = request.app.state.means
    return means


async def get_principal(request: Request) -> Principal:
    """Who asks, as the authentication found out."""
    principal: Principal = request.state.principal
    return principal


def requires(scope: Scope) -> Dependency:
    """A route's dependency: keys without this scope are answered 403."""

    async def check(principal: UsePrincipal) -> None:
        if scope not in principal.scopes:
            raise Problem(ProblemType.INSUFFICIENT_SCOPE, f"This needs a key with the scope `{scope}`.")

    dependency: Dependency = Depends(check)
    return dependency


UsePrincipal = Annotated[Principal, Depends(get_principal)]
UseMeans = Annotated[Means, Depends(get_means)]
