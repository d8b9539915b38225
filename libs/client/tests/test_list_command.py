"""`fetchwork list`, `cancel`, `retry` and `plan`."""

import json

import pytest
from commands import Commands
from played_gateway import PlayedGateway

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
URL = "http://origin.example/"


async def test_list_is_a_line_a_fetch_the_newest_first(commands: Commands, gateway: PlayedGateway) -> None:
    ids = [gateway.promise({"url": URL}), gateway.promise({"url": "http://refused.example/"})]
    done = await commands.run("list")
    newest, oldest = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert newest.startswith("failed     http://refused.example/  connect: Nobody \N{REPLACEMENT CHARACTER}[31m")
    assert oldest == f"succeeded  {URL}  200 text/plain 5 bytes  {ids[0]}"


async def test_list_passes_its_filters_on(commands: Commands, gateway: PlayedGateway) -> None:
    done = await commands.run(
        "list", "--status", "failed", "--host", "a.example", "--label", "shop", "--batch", UNKNOWN_ID, "--limit", "7"
    )
    assert (done.code, done.out) == (0, "")
    assert gateway.lists == [
        {"status": "failed", "host": "a.example", "label": "shop", "batch_id": UNKNOWN_ID, "limit": "7"}
    ]


async def test_list_says_when_there_may_be_more_and_shows_all_on_demand(commands: Commands, gateway: PlayedGateway) -> None:
    ids = [gateway.promise({"url": URL}) for _ in range(230)]
    some = await commands.run("list")
    assert len(some.out.splitlines()) == 50
    assert "--all" in some.err
    all_of_them = await commands.run("list", "--all", "--json")
    assert [json.loads(line)["id"] for line in all_of_them.out.splitlines()] == ids[::-1]


async def test_list_with_a_filter_that_is_none_is_7(commands: Commands) -> None:
    done = await commands.run("list", "--status", "nonsense")
    assert (done.code, done.out) == (7, "")
    assert "status: Not a status." in done.err


async def test_cancelled_is_0_and_the_id(commands: Commands, gateway: PlayedGateway) -> None:
    pending = gateway.promise({"url": "http://never.example/"})
    done = await commands.run("cancel", pending)
    assert (done.code, done.out) == (0, f"{pending}\n")
    shown = await commands.run("cancel", pending, "--json")
    assert json.loads(shown.out)["status"] == "cancelled"


async def test_fetch_that_has_ended_is_7_and_unknown_ones_are_4(commands: Commands, gateway: PlayedGateway) -> None:
    assert (await commands.run("cancel", gateway.promise({"url": URL}))).code == 7
    assert (await commands.run("cancel", UNKNOWN_ID)).code == 4
    assert (await commands.run("retry", UNKNOWN_ID)).code == 4


async def test_retry_prints_the_id_of_the_new_fetch(commands: Commands, gateway: PlayedGateway) -> None:
    first = gateway.promise({"url": URL})
    done = await commands.run("retry", first)
    assert (done.code, done.out.strip() == first, done.out.strip() in gateway.fetches) == (0, False, True)
    assert f"fetchwork fetch {done.out.strip()}" in done.err


async def test_plan_is_a_line_a_url(commands: Commands, gateway: PlayedGateway) -> None:
    done = await commands.run("plan", "http://ORIGIN.example/")
    assert done.code == 0
    facts = "robots allowed (Allow: /)  pace default 0 ms  from 2026-11-24T04:30:02Z"
    assert done.out == f"allow      http://origin.example/  {facts}\n"
    assert gateway.fetches == {}


@pytest.mark.parametrize("host", ["refused", "disallowed", "banned"])
async def test_plan_that_refuses_some_is_5(commands: Commands, host: str) -> None:
    done = await commands.run("plan", URL, f"http://{host}.example/")
    assert (done.code, [line.split()[0] for line in done.out.splitlines()]) == (5, ["allow", "refuse"])


async def test_plan_in_json_is_an_object_a_url(commands: Commands) -> None:
    done = await commands.run("plan", "--json", URL, "http://refused.example/")
    allowed, refused = [json.loads(line)["egress"] for line in done.out.splitlines()]
    assert (allowed["verdict"], refused["verdict"], refused["reason"]) == ("allow", "refuse", "deny_private")


@pytest.mark.parametrize("arguments", [["cancel"], ["retry"], ["plan"], ["list", "--limit", "0"]])
async def test_usage_is_2(commands: Commands, arguments: list[str]) -> None:
    assert (await commands.run(*arguments)).code == 2


@pytest.mark.parametrize("arguments", [["cancel", UNKNOWN_ID], ["retry", UNKNOWN_ID], ["plan", URL], ["list"]])
async def test_wrong_key_is_3(gateway: PlayedGateway, commands: Commands, arguments: list[str]) -> None:
    done = await commands.run(*arguments, FETCHWORK_API_KEY="a-wrong-key")
    assert (done.code, done.out) == (3, "")
    assert "a-wrong-key" not in done.err
