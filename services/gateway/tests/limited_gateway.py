"""A gateway whose keys say themselves what they may do: `Bearer NAME;requests_per_minute=5`. Run as a program, by quota_words.py.

All of it is the gateway's own but the authentication, which takes every key at its word.
"""

import asyncio

import uvicorn
from common.chassis.logging import configure_logging
from common.chassis.operations_port import serve_operations
from common.chassis.settings import load_settings
from common.chassis.watcher import Watcher
from common.clock import utc_now
from common.contracts.keys import KeyLimits
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.authentication import Authentication
from gateway.app import create_app
from gateway.parts import open_means
from gateway.principal import Principal
from gateway.settings import GatewaySettings


class TrustingAuthentication:
    """Lets everybody in, as whom and with which limits their key says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            key = Request(scope).headers.get("authorization", "").removeprefix("Bearer ")
            scope.setdefault("state", {})["principal"] = principal_of(key)
        await self._app(scope, receive, send)


def principal_of(key: str) -> Principal:
    """Whom a key names, with the limits that it carries."""
    name, *limits = key.split(";")
    given = dict(limit.split("=") for limit in limits)
    return Principal(actor=f"key:{name}", key_id=name.ljust(12, "0"), limits=KeyLimits.model_validate(given))


async def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(GatewaySettings)
    configure_logging(service="gateway", level=settings.log_level)
    async with (
        open_means(settings, clock=utc_now) as means,
        serve_operations(
            bind="127.0.0.1",
            port=settings.metrics_port,
            registry=means.metrics.registry,
            checks=means.checks,
            phase=means.phase,
            watcher=Watcher(means.dependencies, metrics=means.metrics.chassis),
        ),
    ):
        means.phase.begin_serving()
        app = create_app(means, settings)
        trusting = Middleware(TrustingAuthentication)
        app.user_middleware = [trusting if entry.cls is Authentication else entry for entry in app.user_middleware]
        await uvicorn.Server(uvicorn.Config(app, port=settings.port, log_config=None, access_log=False)).serve()


if __name__ == "__main__":
    asyncio.run(main())
