"""Services that break the promise on purpose: the negative controls. A checker that does not catch each of them is worthless.

A mutant is patched into the running process by `harness.faulty`, so that it differs from the product by these lines only.
"""

import asyncio
import functools
import importlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.failpoints import wrap_function
from harness.poison import die_of_poison
from harness.surroundings import false_clock, fixed_names, lost_acknowledgements

MUTANT = "MUTANT"
"""The environment variable that names one."""

Function = Callable[..., Awaitable[Any]]
NEVER_SECONDS = 86_400.0
STREAM_LIMIT = 5
"""Entries that a stream keeps which is cut by its length."""
ONE_IN = 100
FORGET = "DELETE FROM fetch_queue WHERE id = $1::uuid"
GUARD = "AND fetches.status = 'queued'"


def _nothing() -> None:
    """The service as it is, started as a mutant is."""


def _acknowledge_before_commit() -> None:
    def wrapper(ingest: Function) -> Function:
        @functools.wraps(ingest)
        async def acknowledging(self: Any, entries: Sequence[Any]) -> None:
            await self._member.acknowledge([entry.id for entry in entries])
            await ingest(self, entries)

        return acknowledging

    wrap_function("store.consumer", "Ingest._ingest", wrapper)


def _lease_without_end() -> None:
    def wrapper(claim: Function) -> Function:
        @functools.wraps(claim)
        async def claiming(pool: Any, *, lease: Any, **named: Any) -> Any:
            return await claim(pool, lease=replace(lease, margin_seconds=NEVER_SECONDS), **named)

        return claiming

    wrap_function("store.dispatch.dispatcher", "claim", wrapper)


def _trust_any_fsync() -> None:
    def wrapper(_: Function) -> Function:
        async def checking(self: Any) -> None:
            """Whatever the events Redis does, a promise is given."""

        return checking

    wrap_function("gateway.promises.publish", "Publisher.check", wrapper)


def _cut_the_stream_by_its_length() -> None:
    def wrapper(load_script: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(load_script)
        def loading(redis: Any, name: str) -> Any:
            text = load_script(redis, name).script
            plain, cut = "'NOMKSTREAM', '*'", f"'NOMKSTREAM', 'MAXLEN', '{STREAM_LIMIT}', '*'"
            assert name != "accept" or plain in text
            return redis.register_script(text.replace(plain, cut))

        return loading

    wrap_function("gateway.promises.publish", "load_script", wrapper)


class _RolledBack(Exception):
    def __init__(self, trains: Any) -> None:
        super().__init__(trains)
        self.trains = trains


def _give_out_and_roll_back() -> None:
    def inner(claim: Function) -> Function:
        @functools.wraps(claim)
        async def claiming(*arguments: Any, **named: Any) -> Any:
            raise _RolledBack(await claim(*arguments, **named))

        return claiming

    def outer(claim: Function) -> Function:
        @functools.wraps(claim)
        async def claiming(*arguments: Any, **named: Any) -> Any:
            try:
                return await claim(*arguments, **named)
            except _RolledBack as rolled_back:
                return rolled_back.trains

        return claiming

    wrap_function("store.dispatch.claim", "_claim", inner)
    wrap_function("store.dispatch.dispatcher", "claim", outer)


def _promise_before_it_is_durable() -> None:
    def wrapper(submit: Function) -> Function:
        under_way: set[asyncio.Future[Any]] = set()

        @functools.wraps(submit)
        async def submitting(self: Any, submission: Any) -> list[bytes]:
            task = asyncio.ensure_future(submit(self, submission))
            under_way.add(task)
            task.add_done_callback(lambda done: (under_way.discard(done), done.exception()))
            return [b"accepted", b"0-0"]

        return submitting

    wrap_function("gateway.promises.publish", "Publisher._submit", wrapper)


def _forget_keys() -> None:
    def wrapper(publish: Function) -> Function:
        @functools.wraps(publish)
        async def publishing(self: Any, fetches: Sequence[Any], **named: Any) -> Any:
            return await publish(self, fetches, **{**named, "idempotency": None})

        return publishing

    wrap_function("gateway.promises.publish", "Publisher.publish", wrapper)


def _overwrite_what_is_terminal() -> None:
    finishing: Any = importlib.import_module("store.fetches.finish")
    assert GUARD in finishing.FINISH
    finishing.FINISH = finishing.FINISH.replace(GUARD, "")
    finish = importlib.import_module("store.fetches.lifecycle").finish

    def wrapper(decide: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(decide)
        def deciding(pending: Any, attempts: Sequence[Any], *others: Any, **named: Any) -> Any:
            late = [attempt.attempted for attempt in attempts if attempt.attempted.id not in pending]
            return [*decide(pending, attempts, *others, **named), *map(finish, late)]

        return deciding

    wrap_function("store.fetches.record", "_decide", wrapper)


def _take_every_method_for_idempotent() -> None:
    request: Any = importlib.import_module("common.contracts.fetches").FetchRequest
    request.is_idempotent = property(lambda _: True)


def _drop_one_outcome_in_a_hundred() -> None:
    def wrapper(finish_fetches: Function) -> Function:
        seen = 0

        @functools.wraps(finish_fetches)
        async def finishing(connection: Any, finishes: Sequence[Any], **named: Any) -> Any:
            nonlocal seen
            kept = []
            for finish in finishes:
                seen += 1
                if seen % ONE_IN:
                    kept.append(finish)
                else:
                    await connection.execute(FORGET, finish.id)
            return await finish_fetches(connection, kept, **named)

        return finishing

    wrap_function("store.fetches.record", "finish_fetches", wrapper)


def _report_the_body_of_another() -> None:
    def wrapper(pack_body: Function) -> Function:
        contents: list[bytearray] = []

        @functools.wraps(pack_body)
        async def packing(content: bytearray) -> Any:
            contents.append(content)
            return await pack_body(contents[0] if len(contents) % 10 == 0 else content)

        return packing

    wrap_function("fetcher.perform", "pack_body", wrapper)


def _keep_bodies_under_the_wrong_digest() -> None:
    def wrapper(keep_contents: Function) -> Function:
        @functools.wraps(keep_contents)
        async def keeping(connection: Any, contents: Mapping[bytes, Any], **named: Any) -> Any:
            turned = [*list(contents.values())[1:], *list(contents.values())[:1]]
            return await keep_contents(connection, dict(zip(contents, turned, strict=True)), **named)

        return keeping

    wrap_function("store.fetches.record", "keep_contents", wrapper)


def _announce_nothing_of_one_in_a_hundred() -> None:
    _leave_out_one_in_a_hundred("store.fetches.finish", "write_events")


def _send_nothing_of_one_in_a_hundred() -> None:
    _leave_out_one_in_a_hundred("store.outbox.relay", "append_to_feed")


def _leave_out_one_in_a_hundred(module: str, name: str) -> None:
    """From the events that a function takes as its second argument."""

    def wrapper(function: Function) -> Function:
        seen = 0

        @functools.wraps(function)
        async def leaving_out(first: Any, events: Sequence[Any], **named: Any) -> Any:
            nonlocal seen
            kept = []
            for event in events:
                seen += 1
                if seen % ONE_IN:
                    kept.append(event)
            return await function(first, kept, **named)

        return leaving_out

    wrap_function(module, name, wrapper)


NO_MUTANT = "nothing"
MUTANTS: Mapping[str, Callable[[], None]] = {
    NO_MUTANT: _nothing,
    "ack_before_commit": _acknowledge_before_commit,
    "no_lease": _lease_without_end,
    "trust_any_fsync": _trust_any_fsync,
    "maxlen": _cut_the_stream_by_its_length,
    "claim_rolled_back": _give_out_and_roll_back,
    "promise_first": _promise_before_it_is_durable,
    "forget_keys": _forget_keys,
    "overwrite_terminal": _overwrite_what_is_terminal,
    "every_method_again": _take_every_method_for_idempotent,
    "drop_one_in_a_hundred": _drop_one_outcome_in_a_hundred,
    "body_of_another": _report_the_body_of_another,
    "bodies_swapped": _keep_bodies_under_the_wrong_digest,
    "unannounced": _announce_nothing_of_one_in_a_hundred,
    "unsent": _send_nothing_of_one_in_a_hundred,
    "poison": die_of_poison,
    "fixed_names": fixed_names,
    "false_clock": false_clock,
    "lost_acknowledgements": lost_acknowledgements,
}
