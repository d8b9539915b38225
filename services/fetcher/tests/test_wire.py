"""The metered connection by itself: its counts, and what it hands on in whatever pieces it comes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from common.contracts.fetches import Budget
from hypothesis import given
from hypothesis import strategies as st

from fetcher.egress.budgets import Budgets
from fetcher.egress.wire import MeteredProtocol
from fetcher.errors import ExchangeFailed

Until = Callable[..., Awaitable[Any]]
RESPONSE = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: z\r\n\r\n"
)


class Wire(asyncio.Transport):
    """A transport that goes nowhere and knows whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None:
        self.is_cut = True

    def is_closing(self) -> bool:
        return self.is_cut

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def _connection(budgets: Budgets = Budgets()) -> tuple[MeteredProtocol, Wire]:
    protocol, wire = MeteredProtocol(asyncio.get_running_loop(), budgets=budgets), Wire()
    protocol.connection_made(wire)
    _begin_request(protocol)
    return protocol, wire


def _begin_request(protocol: MeteredProtocol) -> None:
    protocol.set_response_params(auto_decompress=False, max_line_size=131072, max_field_size=131072, max_headers=65536)


async def _statuses(protocol: MeteredProtocol) -> list[int]:
    return [(await protocol.read())[0].code for _ in range(len(protocol))]


@given(cuts=st.lists(st.integers(0, len(RESPONSE)), max_size=12))
async def test_pieces_make_no_difference(cuts: list[int]) -> None:
    protocol, wire = _connection()
    edges = [0, *sorted(cuts), len(RESPONSE)]
    for start, end in zip(edges, edges[1:], strict=False):
        if start < end:
            protocol.data_received(RESPONSE[start:end])
    assert not wire.is_cut and len(protocol) == 2
    await protocol.read()
    message, content = await protocol.read()
    assert (message.code, await content.read()) == (200, b"hello world")


@pytest.mark.parametrize("after", [b"H", b"\r\n\r\n", b"junk\r\n\r\n", b"HTTP/1.1 201 Smuggled\r\nContent-Length: 0\r\n\r\n"])
async def test_bytes_on_an_idle_connection_end_it(after: bytes) -> None:
    protocol, wire = _connection()
    protocol.data_received(RESPONSE)
    assert not wire.is_cut and not protocol._should_close
    protocol.data_received(after)
    assert wire.is_cut and protocol.should_close and await _statuses(protocol) == [103, 200]


async def test_second_response_at_once_ends_the_connection_and_is_not_heard() -> None:
    protocol, wire = _connection()
    protocol.data_received(RESPONSE + b"HTTP/1.1 201 Smuggled\r\nContent-Length: 0\r\n\r\n")
    assert wire.is_cut and await _statuses(protocol) == [103, 200]


@pytest.mark.parametrize("cut", range(1, 5))
async def test_head_goes_alone_also_where_its_end_is_cut(cut: int) -> None:
    protocol, _ = _connection()
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and what nobody can read"
    edge = data.index(b"\r\n\r\n") + cut
    protocol.data_received(data[:edge])
    protocol.data_received(data[edge:])
    _, content = await protocol.read()
    assert await content.read() == b"hello"


async def test_why_it_was_ended_is_not_covered_by_how_it_ended() -> None:
    protocol, wire = _connection()
    protocol.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    for _ in range(20):
        protocol.data_received(b"1;" + b"x" * 10_000 + b"\r\ny\r\n")
    assert wire.is_cut
    protocol.connection_lost(None)
    _, content = await protocol.read()
    failure = content.exception()
    assert isinstance(failure, ExchangeFailed) and failure.exceeded is Budget.WIRE_BYTES


async def test_counts_begin_anew_with_each_request() -> None:
    protocol, wire = _connection()
    head = b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 15_000 + b"\r\nContent-Length: 0\r\n\r\n"
    for _ in range(20):
        protocol.data_received(head)
        await protocol.read()
        _begin_request(protocol)
    assert not wire.is_cut


@pytest.mark.parametrize("is_second_answered", [True, False])
async def test_each_request_of_a_connection_has_all_of_its_time_for_a_head(is_second_answered: bool, until: Until) -> None:
    loop, seconds = asyncio.get_running_loop(), 0.2
    protocol, wire = _connection(Budgets(first_byte_seconds=seconds))
    protocol.data_received(RESPONSE)
    await asyncio.sleep(seconds / 2)  # what passes between two requests is real time
    began = loop.time()
    _begin_request(protocol)
    if is_second_answered:
        protocol.data_received(RESPONSE)
        await until(lambda: loop.time() > began + 2 * seconds)
        assert not wire.is_cut and protocol.exception() is None
        return
    await until(lambda: wire.is_cut)
    failure = protocol.exception()
    assert isinstance(failure, ExchangeFailed) and failure.exceeded is Budget.FIRST_BYTE
    assert seconds <= loop.time() - began < 5 * seconds
