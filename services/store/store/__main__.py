"""`python -m store` runs the store; `python -m store migrate` only brings the schema up to date."""

import asyncio
import sys

import structlog
import uvloop
from common.chassis.build import VERSION
from common.chassis.lifecycle import stop_on_signals
from common.chassis.logging import configure_logging
from common.chassis.memory import settle_garbage_collector
from common.chassis.settings import load_settings
from common.chassis.telemetry import configure_tracing

from store.errors import StoreError
from store.migrate import migrate
from store.processes import run_store
from store.settings import MigrationSettings, StoreSettings

log = structlog.get_logger()


def main() -> int:
    """Run the command named on the command line; returns the exit code."""
    try:
        if sys.argv[1:] == ["migrate"]:
            _migrate()
        else:
            _run()
    except StoreError as error:
        log.error("store cannot run", error=type(error).__name__, reason=str(error))
        return 1
    return 0


def _migrate() -> None:
    settings = load_settings(MigrationSettings)
    configure_logging(service="store", level=settings.log_level)
    applied = asyncio.run(migrate(settings.database_url.get_secret_value()))
    log.info("migrated", applied=[migration.version for migration in applied])


def _run() -> None:
    settings = load_settings(StoreSettings)
    configure_logging(service="store", level=settings.log_level, instance=settings.instance)
    tracing = configure_tracing(service="store", version=VERSION, instance=settings.instance)
    try:
        settle_garbage_collector()
        uvloop.run(_serve(settings))
    finally:
        tracing.shutdown()


async def _serve(settings: StoreSettings) -> None:
    stopping = asyncio.Event()
    stop_on_signals(stopping.set)
    await run_store(settings, stopping)


if __name__ == "__main__":
    sys.exit(main())
