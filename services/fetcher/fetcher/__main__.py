"""`python -m fetcher`: settings, logs, the event loop in its thread, then a Celery worker in this one until a signal."""

import os
import sys

from common.chassis.build import VERSION
from common.chassis.logging import configure_logging
from common.chassis.memory import settle_garbage_collector
from common.chassis.open_files import raise_open_files_limit
from common.chassis.settings import load_settings
from common.chassis.telemetry import configure_tracing

from fetcher.celery_app import create_app, run_worker, stop_on_signals
from fetcher.process import FetcherThread
from fetcher.settings import FetcherSettings


def main() -> int:
    """Run the fetcher until it is told to stop; 0 when it stopped in order."""
    settings = load_settings(FetcherSettings)
    configure_logging(service="fetcher", level=settings.log_level, instance=settings.instance)
    tracing = configure_tracing(service="fetcher", version=VERSION, instance=settings.instance)
    raise_open_files_limit()
    fetcher = FetcherThread(settings)
    app = create_app(settings, take_batch=fetcher.take_batch)
    stop_on_signals(fetcher.begin_drain)
    fetcher.start()
    settle_garbage_collector()
    exit_code = run_worker(app, name=fetcher.worker, threads=settings.fetcher_threads, reject=fetcher.reject)
    fetcher.close()
    tracing.shutdown()
    return exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # all is closed; a lookup that hangs in the C library must not hold up the exit, as its thread would
