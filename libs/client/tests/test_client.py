"""The SDK against a gateway that plays its parts."""

import socket

import pytest
from fetchwork import Client, GatewayUnreachable, NeverSent, NotAuthorized, NotFound, ProblemError, WaitTimeout
from played_gateway import PlayedGateway


async def test_submitted_fetch_is_waited_for_and_read(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        accepted = await client.submit("http://origin.example/", timeout_seconds=3)
        assert (accepted.status, accepted.is_finished) == ("queued", False)
        fetch = await client.wait(accepted.id, wait_seconds=10)
        assert fetch.is_succeeded
        assert fetch.response is not None
        assert (fetch.response.status, fetch.response.size_bytes, fetch.response.headers) == (200, 5, {"x": "y"})
        assert fetch.links is not None
        assert fetch.links.self_ == f"/v1/fetches/{fetch.id}"
        assert await client.content(fetch.id) == b"a\x00b\nc"
    assert gateway.requests == [{"url": "http://origin.example/", "timeout_seconds": 3}]


async def test_members_that_we_do_not_know_are_kept(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        fetch = await client.wait((await client.submit("http://origin.example/")).id, wait_seconds=10)
    assert fetch.model_dump(by_alias=True)["new_member"] == "kept"


async def test_busy_gateway_is_asked_again_with_the_same_idempotency_key(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        assert (await client.submit("http://busy.example/")).status == "queued"
    assert gateway.posts["http://busy.example/"] == 3
    assert len(set(gateway.idempotency_keys)) == 1


async def test_overloaded_gateway_is_given_up_on_after_a_few_tries(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ProblemError) as refusal:
            await client.submit("http://overloaded.example/")
    assert (refusal.value.status, refusal.value.retry_after_seconds) == (503, 0)
    assert gateway.posts["http://overloaded.example/"] == 4


async def test_gateway_that_asks_for_much_patience_is_not_asked_again(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ProblemError):
            await client.submit("http://patience.example/")
    assert gateway.posts["http://patience.example/"] == 1


async def test_problem_document_becomes_attributes(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(ProblemError) as refusal:
            await client.submit("http://invalid.example/")
    problem = refusal.value
    assert (problem.type, problem.title, problem.status) == ("/problems/played", "The request is not valid", 422)
    assert (problem.detail, problem.trace_id) == ("Do better.", "t1")
    assert str(problem) == "The request is not valid: Do better.; #/url: Not a URL. (trace t1)"


async def test_wrong_key_and_unknown_fetch_have_their_own_errors(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, "wrong") as client:
        with pytest.raises(NotAuthorized):
            await client.submit("http://origin.example/")
    async with Client(gateway.url, api_key) as client:
        with pytest.raises(NotFound):
            await client.get("00000000-0000-7000-8000-000000000000")


async def test_wait_ends_in_time_and_says_how_the_fetch_was_last_seen(gateway: PlayedGateway, api_key: str) -> None:
    async with Client(gateway.url, api_key) as client:
        accepted = await client.submit("http://never.example/")
        with pytest.raises(WaitTimeout) as timeout:
            await client.wait(accepted.id, wait_seconds=0.2)
    assert (timeout.value.fetch.id, timeout.value.fetch.status) == (accepted.id, "running")
    assert timeout.value.fetch.waiting is not None


async def test_gateway_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        async with Client(f"http://127.0.0.1:{taken.getsockname()[1]}", "key") as client:
            with pytest.raises(NeverSent):
                await client.submit("http://origin.example/")


async def test_gateway_that_does_not_answer_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "key", timeout_seconds=0.2) as client:
            with pytest.raises(GatewayUnreachable):
                await client.submit("http://origin.example/")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://[", "ftp://127.0.0.1"])
async def test_address_that_is_no_address_is_unreachable(url: str) -> None:
    with pytest.raises(GatewayUnreachable):
        async with Client(url, "key") as client:
            await client.submit("http://origin.example/")
