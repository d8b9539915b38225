"""`python -m gateway` runs the gateway."""

import sys

import uvloop
from common.chassis.build import VERSION
from common.chassis.logging import configure_logging
from common.chassis.memory import settle_garbage_collector
from common.chassis.open_files import raise_open_files_limit
from common.chassis.settings import load_settings
from common.chassis.telemetry import configure_tracing

from gateway.app import run_gateway
from gateway.settings import GatewaySettings


def main() -> int:
    """Run until stopped; returns the exit code."""
    settings = load_settings(GatewaySettings)
    configure_logging(service="gateway", level=settings.log_level, instance=settings.instance)
    tracing = configure_tracing(service="gateway", version=VERSION, instance=settings.instance)
    raise_open_files_limit()
    try:
        settle_garbage_collector()
        uvloop.run(run_gateway(settings))
    finally:
        tracing.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
