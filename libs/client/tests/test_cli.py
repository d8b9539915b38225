"""The command line as a script meets it: exit codes, what is on stdout and what on stderr."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest
from commands import Commands, end
from played_gateway import PlayedGateway

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"


async def test_success_is_0(commands: Commands) -> None:
    done = await commands.run("fetch", "http://origin.example/")
    assert done.code == 0
    assert done.out.startswith("succeeded  http://origin.example/  200 text/plain 5 bytes  ")


async def test_json_of_one_url_is_one_object(commands: Commands, gateway: PlayedGateway) -> None:
    done = await commands.run("fetch", "--json", "http://origin.example/", "--timeout-seconds", "7")
    fetch = json.loads(done.out)
    assert (fetch["status"], fetch["response"]["status"], fetch["new_member"]) == ("succeeded", 200, "kept")
    assert fetch["links"]["self"] == f"/v1/fetches/{fetch['id']}"
    assert gateway.requests[-1]["timeout_seconds"] == 7


async def test_json_of_several_urls_is_one_object_a_line_in_order(commands: Commands) -> None:
    urls = [f"http://origin.example/{number}" for number in range(40)]
    done = await commands.run("fetch", "--json", *urls)
    assert done.code == 0
    assert [json.loads(line)["url"] for line in done.out.splitlines()] == urls


async def test_content_is_written_as_it_is(commands: Commands, tmp_path: Path) -> None:
    done = await commands.run("fetch", "http://origin.example/", "--output", "page")
    assert done.code == 0
    assert (tmp_path / "page").read_bytes() == b"a\x00b\nc"
    piped = await commands.run("fetch", "http://origin.example/", "--output", "-")
    assert (piped.out, piped.code) == ("a\x00b\nc", 0)
    assert "succeeded" in piped.err


async def test_response_without_a_body_is_written_as_an_empty_file(commands: Commands, tmp_path: Path) -> None:
    assert (await commands.run("fetch", "http://empty.example/", "--output", "page")).code == 0
    assert (tmp_path / "page").read_bytes() == b""


async def test_no_wait_prints_the_id_which_can_be_waited_for(commands: Commands) -> None:
    submitted = await commands.run("fetch", "--no-wait", "http://origin.example/")
    assert submitted.code == 0
    done = await commands.run("fetch", "--json", submitted.out.strip())
    assert (done.code, json.loads(done.out)["status"]) == (0, "succeeded")


async def test_method_body_headers_age_and_robots_are_passed_on(
    commands: Commands, gateway: PlayedGateway, tmp_path: Path
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    url = "http://origin.example/"
    await commands.run("fetch", url, "--data", "text", "--header", "A: b:c", "--max-age", "60", "--ignore-robots")
    await commands.run("fetch", url, "--data", "@bytes", "--method", "put")
    assert gateway.requests == [
        {"url": url, "method": "POST", "body": "text", "headers": {"A": "b:c"}, "max_age_seconds": 60, "robots": "ignore"},
        {"url": url, "method": "PUT", "body": {"base64": "/wA="}},
    ]


async def test_a_response_of_another_fetch_says_so(commands: Commands) -> None:
    done = await commands.run("fetch", "http://cached.example/")
    assert "200 text/plain 5 bytes (cache, 12 s old)" in done.out


@pytest.mark.parametrize(
    "arguments",
    [[], ["--output", "x", "http://a/", "http://b/"], ["--nonsense", "http://a/"], ["--header", "x", "http://a/"]],
)
async def test_usage_is_2(commands: Commands, arguments: list[str]) -> None:
    assert (await commands.run("fetch", *arguments)).code == 2


async def test_no_gateway_known_is_3(tmp_path: Path) -> None:
    done = await Commands(tmp_path).run("fetch", "http://origin.example/")
    assert (done.code, done.out) == (3, "")
    assert "fetchwork up" in done.err


async def test_gateway_that_is_not_there_is_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = await Commands(tmp_path, FETCHWORK_URL=url, FETCHWORK_API_KEY="key").run("fetch", "http://origin.example/")
    assert done.code == 3
    assert "does not answer" in done.err


async def test_wrong_key_is_3_and_not_shown(gateway: PlayedGateway, tmp_path: Path) -> None:
    commands = Commands(tmp_path, FETCHWORK_URL=gateway.url, FETCHWORK_API_KEY="a-wrong-key")
    done = await commands.run("fetch", "http://origin.example/")
    assert done.code == 3
    assert "a-wrong-key" not in done.out + done.err


async def test_address_without_a_key_is_3(gateway: PlayedGateway, tmp_path: Path) -> None:
    assert (await Commands(tmp_path, FETCHWORK_URL=gateway.url).run("fetch", "http://origin.example/")).code == 3


async def test_unknown_id_is_4(commands: Commands) -> None:
    assert (await commands.run("fetch", UNKNOWN_ID)).code == 4


@pytest.mark.parametrize("bad", ["http://refused.example/", "http://invalid.example/", "http://overloaded.example/"])
async def test_some_failed_is_5(commands: Commands, bad: str) -> None:
    done = await commands.run("fetch", "--json", "http://origin.example/", bad)
    good, failed = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 5
    assert (good["status"], failed["url"]) == ("succeeded", bad)
    assert failed["status"] in {"failed", "refused"}


async def test_text_of_a_remote_host_cannot_steer_the_terminal(commands: Commands) -> None:
    done = await commands.run("fetch", "http://refused.example/")
    assert "Nobody \N{REPLACEMENT CHARACTER}[31mlistens." in done.out


async def test_timed_out_waiting_is_6_and_says_how_to_resume(commands: Commands) -> None:
    done = await commands.run("fetch", "--json", "--wait-seconds", "0.2", "http://never.example/")
    assert done.code == 6
    assert f"fetchwork fetch {json.loads(done.out)['id']}" in done.err


async def test_interruption_is_130_and_says_how_to_resume(commands: Commands, gateway: PlayedGateway) -> None:
    process = await commands.start("fetch", "http://never.example/")
    async with asyncio.timeout(30):
        await gateway.was_looked_at.wait()
    process.send_signal(signal.SIGINT)
    done = await end(process)
    assert done.code == 130
    assert f"fetchwork fetch {next(iter(gateway.fetches))}" in done.err


async def test_help_names_every_command(tmp_path: Path) -> None:
    done = await Commands(tmp_path).run("--help")
    assert done.code == 0
    assert all(name in done.out for name in ("up", "down", "status", "env", "logs", "fetch"))


async def test_status_without_a_stack_is_valid_json_and_1(tmp_path: Path) -> None:
    done = await Commands(tmp_path).run("status", "--json")
    assert (done.code, json.loads(done.out)["ready"]) == (1, False)
    assert not (tmp_path / ".fetchwork").exists()


async def test_env_without_a_stack_is_3_and_prints_nothing(tmp_path: Path) -> None:
    done = await Commands(tmp_path).run("env")
    assert (done.code, done.out) == (3, "")


async def test_down_without_a_stack_is_fine(tmp_path: Path) -> None:
    assert (await Commands(tmp_path).run("down")).code == 0


async def test_logs_without_a_stack_is_4(tmp_path: Path) -> None:
    assert (await Commands(tmp_path).run("logs", "gateway")).code == 4


async def test_logs_shows_the_last_lines_and_names_their_source(tmp_path: Path) -> None:
    logs = tmp_path / ".fetchwork" / "logs"
    logs.mkdir(parents=True)
    (logs / "gateway.log").write_text("first\nsecond\nthi\x1brd\n")
    (logs / "store.log").write_text("other\n")
    one = await Commands(tmp_path).run("logs", "gateway", "--lines", "2")
    assert (one.code, one.out) == (0, "second\nthi\N{REPLACEMENT CHARACTER}rd\n")
    both = await Commands(tmp_path).run("logs")
    assert "gateway      first" in both.out and "store        other" in both.out


async def test_port_that_is_taken_is_1_and_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = await Commands(tmp_path).run("up", "--detach", "--port", port)
    assert done.code == 1
    assert f"Port {port} " in done.err


async def test_folder_with_other_things_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    done = await Commands(tmp_path, FETCHWORK_HOME=str(tmp_path)).run("up", "--detach")
    assert done.code == 1
    assert "not a Fetchwork home" in done.err
