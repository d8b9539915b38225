"""The Celery application: one task on one queue, and the options that the rest of the design leans on."""

from collections.abc import Callable

import pytest
from celery import Celery
from common.contracts.catalog import FETCH_PERFORM
from common.streams.names import COMMAND_QUEUE

from fetcher.celery_app import create_app
from fetcher.settings import FetcherSettings


@pytest.fixture
def app() -> Celery:
    """The application over nothing."""
    settings = FetcherSettings(
        metrics_port=0,
        events_url="redis://127.0.0.1:1",
        broker_url="redis://127.0.0.1:2",
        store_url="http://127.0.0.1:3",
        store_token="0123456789abcdef",
    )

    def take_batch(_message: str) -> None:
        """Take nothing."""

    return create_app(settings, take_batch=take_batch)


def test_there_is_one_task_and_one_queue(app: Celery) -> None:
    assert [name for name in app.tasks if not name.startswith("celery.")] == [FETCH_PERFORM]
    assert list(app.amqp.queues) == [COMMAND_QUEUE]


@pytest.mark.parametrize(
    ("option", "is_right"),
    [
        ("task_acks_late", lambda value: value is False),
        ("result_backend", lambda value: value is None),
        ("task_ignore_result", bool),
        ("worker_prefetch_multiplier", lambda value: value == 1),
        ("worker_enable_remote_control", lambda value: value is False),
        ("worker_send_task_events", lambda value: value is False),
        ("accept_content", lambda value: list(value) == ["json"]),
        ("broker_connection_max_retries", lambda value: value is None),
        ("broker_transport_options", lambda value: value["socket_timeout"] and value["visibility_timeout"] > 120),
    ],
)
def test_option_that_the_design_leans_on(option: str, is_right: Callable[[object], bool], app: Celery) -> None:
    assert is_right(app.conf[option])
