"""Names: one lookup for one dial, every answer judged."""

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import pytest
from common.contracts.fetches import ErrorType
from common.egress.addresses import AddressVerdict
from common.egress.lookup import ANSWER_LIMIT
from common.egress.policies import TargetPolicy

from fetcher.egress.evidence import CURRENT_HOP, HopRecord
from fetcher.egress.resolver import GuardedResolver
from fetcher.errors import ExchangeFailed


async def _resolve(answers: Any, *, port: int = 80) -> Any:
    hop = HopRecord(url="http://www.example.com/")
    CURRENT_HOP.set(hop)

    async def lookup(_name: str) -> list[str]:
        if isinstance(answers, BaseException):
            raise answers
        return list(answers)

    resolver = GuardedResolver(TargetPolicy(), lookup=lookup)
    try:
        return [result["host"] for result in await resolver.resolve("www.example.com", port)], hop
    except ExchangeFailed as failed:
        return failed.error, hop
    finally:
        await resolver.close()


async def test_public_answers_are_handed_on_in_order() -> None:
    found, hop = await _resolve(["93.184.216.34", "2606:4700::1", "93.184.216.34"])
    assert found == ["93.184.216.34", "2606:4700::1"] == hop.addresses
    assert hop.verdict is AddressVerdict.PUBLIC


@pytest.mark.parametrize("place", [0, 1, ANSWER_LIMIT, 20])
async def test_one_bad_answer_refuses_the_whole_set(place: int) -> None:
    answers = [f"93.184.216.{number}" for number in range(1, 21)]
    answers.insert(place, "10.0.0.5")
    error, hop = await _resolve(answers)
    assert error.type is ErrorType.REFUSED_ADDRESS
    assert "10.0.0.5" not in error.detail
    assert hop.verdict is AddressVerdict.DENY_PRIVATE


async def test_at_most_eight_answers_are_kept() -> None:
    found, _ = await _resolve([f"93.184.216.{number}" for number in range(1, 40)])
    assert len(found) == ANSWER_LIMIT


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_NONAME, "no"), OSError("down"), UnicodeError("too long"), [], ["no address"]]
)
async def test_name_without_answer_is_a_dns_error(failure: object) -> None:
    error, hop = await _resolve(failure)
    assert error.type is ErrorType.DNS
    assert hop.verdict is AddressVerdict.UNKNOWN


async def test_port_is_judged_after_the_address() -> None:
    error, _ = await _resolve(["93.184.216.34"], port=6379)
    assert error.type is ErrorType.REFUSED_PORT
    error, _ = await _resolve(["10.0.0.5"], port=6379)
    assert error.type is ErrorType.REFUSED_ADDRESS


async def test_system_lookup_reads_the_hosts_file_where_unsafe_networks_are_listed() -> None:
    hop = HopRecord(url="http://localhost/")
    CURRENT_HOP.set(hop)
    resolver = GuardedResolver(TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128"))))
    found = await resolver.resolve("localhost", 8080)
    assert "127.0.0.1" in {result["host"] for result in found}
    assert hop.verdict is AddressVerdict.UNSAFE_NETWORK
    await resolver.close()


async def test_private_name_may_lead_into_an_unsafe_network_only() -> None:
    async def lookup(name: str) -> list[str]:
        return ["127.0.0.1"] if name == "local.corp" else ["93.184.216.34"]

    resolver = GuardedResolver(TargetPolicy(unsafe_networks=(ip_network("127.0.0.0/8"),)), lookup=lookup)
    hop = HopRecord(url="http://wiki.corp/")
    CURRENT_HOP.set(hop)
    assert [found["host"] for found in await resolver.resolve("local.corp", 80)] == ["127.0.0.1"]
    with pytest.raises(ExchangeFailed) as failed:
        await resolver.resolve("wiki.corp", 80)
    assert failed.value.error.type is ErrorType.REFUSED_ADDRESS and hop.verdict is AddressVerdict.DENY_NAME
    await resolver.close()


async def test_lookup_that_hangs_is_given_up() -> None:
    async def hang(_name: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    CURRENT_HOP.set(HopRecord(url="http://www.example.com/"))
    resolver = GuardedResolver(TargetPolicy(), lookup=hang, timeout_seconds=0.05)
    with pytest.raises(ExchangeFailed) as failed:
        await resolver.resolve("www.example.com", 80)
    assert failed.value.error.type is ErrorType.DNS
    await resolver.close()


@pytest.mark.parametrize("name", ["redis.default", "www.example.com"])
async def test_system_lookup_asks_for_the_absolute_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a search domain (ndots:5) could make a cluster service of it."""
    asked = []

    def nobody(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "nobody is asked")

    # What our own lookup asks for is the question here; with the system's behind it, a packet would leave this machine.
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    CURRENT_HOP.set(HopRecord(url=f"http://{name}/"))
    resolver = GuardedResolver(TargetPolicy())
    with pytest.raises(ExchangeFailed):
        await resolver.resolve(name, 80)
    await resolver.close()
    assert asked == [f"{name}."]
