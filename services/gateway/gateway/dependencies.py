"""What a route may use, handed to it by the composition root."""

from dataclasses import dataclass
from typing import Annotated

from common.chassis.health import Check
from common.clock import Clock
from fastapi import Depends, Request

from gateway.metrics import GatewayMetrics
from gateway.publish import Publisher
from gateway.store_client import StoreClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The gateway's parts, as routes use them."""

    publisher: Publisher
    store: StoreClient
    metrics: GatewayMetrics
    clock: Clock

    @property
    def checks(self) -> dict[str, Check]:
        """What must hold for this gateway to promise fetches. Reads may fail while the store is away; promises go on."""
        return {"events": self.publisher.check}


async def get_means(request: Request) -> Means:
    """The means of the application that serves this request."""
    means: Means = request.app.state.means
    return means


async def get_actor(request: Request) -> str:
    """Who asks, as operators may read it: names the API key and does not tell it."""
    actor: str = request.state.actor
    return actor


UseActor = Annotated[str, Depends(get_actor)]
UseMeans = Annotated[Means, Depends(get_means)]
