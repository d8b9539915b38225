"""`fetchwork batch`: what is on stdout and stderr, how it ends, and that doing it again doubles nothing."""

import asyncio
import json
import os
import pty
import signal
import socket
from pathlib import Path

import pytest
from commands import Commands, end
from played_batches import PlayedBatches
from played_gateway import PlayedGateway

UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"
URLS = "".join(f"http://origin.example/{number}\n" for number in range(10))


@pytest.fixture
def urls(tmp_path: Path) -> str:
    """A file with ten good lines."""
    (tmp_path / "urls.txt").write_text(URLS)
    return "urls.txt"


def _sent(batches: PlayedBatches) -> list[dict[str, object]]:
    return [json.loads(line) for line in batches.lines]


async def test_all_succeeded_is_0_and_one_line(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    done = await commands.run("batch", urls)
    batch_id = next(iter(batches.documents))
    assert (done.code, done.out) == (0, f"batch {batch_id}: 10 succeeded\n")
    assert f"batch {batch_id}: 10 accepted, 0 refused" in done.err


async def test_lines_are_urls_strings_or_objects_and_get_labels_and_their_number(
    commands: Commands, batches: PlayedBatches
) -> None:
    fetch = '{"url": "http://c.example/", "labels": ["own"], "attrs": {"sku": 7}}'
    lines = f'\ufeffhttp://a.example/\r\n\n"http://b.example/"\n{fetch}'
    done = await commands.run("batch", "-", "--label", "shop", "--detach", stdin=lines.encode())
    assert done.code == 0
    assert batches.lines[1] == b""
    batches.lines.pop(1)
    assert _sent(batches) == [
        {"url": "http://a.example/", "attrs": {"line": 1}, "labels": ["shop"]},
        {"url": "http://b.example/", "attrs": {"line": 3}, "labels": ["shop"]},
        {"url": "http://c.example/", "attrs": {"line": 4, "sku": 7}, "labels": ["own", "shop"]},
    ]


async def test_json_is_one_object(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    done = await commands.run("batch", "--json", urls)
    batch = json.loads(done.out)
    assert (done.code, batch["id"], batch["total"], batch["finished"]) == (0, next(iter(batches.documents)), 10, True)
    assert batch["counts"]["succeeded"] == 10


async def test_detached_prints_the_id_which_can_be_waited_for(commands: Commands, urls: str) -> None:
    submitted = await commands.run("batch", "--detach", urls)
    assert submitted.code == 0
    done = await commands.run("batch", "--resume", submitted.out.strip())
    assert (done.code, done.out) == (0, f"batch {submitted.out.strip()}: 10 succeeded\n")


async def test_failed_fetches_are_5_and_shown(commands: Commands) -> None:
    done = await commands.run("batch", "-", stdin=b"http://origin.example/\nhttp://refused.example/\n")
    assert done.code == 5
    failed, summary = done.out.splitlines()
    assert failed.startswith("failed     http://refused.example/  connect: Nobody \N{REPLACEMENT CHARACTER}[31mlistens.")
    assert summary.endswith(": 1 succeeded, 1 failed")


async def test_many_failed_fetches_are_not_all_shown(commands: Commands, gateway: PlayedGateway) -> None:
    done = await commands.run("batch", "-", stdin=b"http://refused.example/\n" * 30)
    assert (done.code, len(done.out.splitlines())) == (5, 21)
    assert "10 more are failed: fetchwork list --batch" in done.err
    assert gateway.lists[-1]["status"] == "failed"


async def test_refused_lines_are_5_and_named_by_their_number_in_the_file(commands: Commands) -> None:
    lines = b'http://origin.example/\n\nnonsense\n{"url":\n\xff\nhttp://origin.example/2\nhttp://invalid.example/\n'
    done = await commands.run("batch", "-", "--json", stdin=lines)
    assert done.code == 5
    assert [error["line"] for error in json.loads(done.out)["errors"]] == [3, 4, 5, 7]
    assert "line 3: #/url: Not a URL." in done.err.splitlines()


async def test_more_refused_lines_than_people_read_are_in_the_json(commands: Commands) -> None:
    done = await commands.run("batch", "-", "--json", stdin=b"nonsense\n" * 150)
    assert (done.code, len(json.loads(done.out)["errors"])) == (5, 150)
    assert "130 more lines were refused" in done.err


async def test_same_file_is_the_same_batch(
    commands: Commands, gateway: PlayedGateway, batches: PlayedBatches, urls: str, tmp_path: Path
) -> None:
    await commands.run("batch", urls)
    (tmp_path / "copy").write_text(URLS)
    again = await commands.run("batch", "copy")
    piped = await commands.run("batch", "-", stdin=URLS.encode())
    assert (again.code, piped.code, len(gateway.fetches), len(set(batches.submissions))) == (0, 0, 10, 1)
    assert "--again" in again.err


@pytest.mark.parametrize("arguments", [["--again"], ["--label", "other"], ["--idempotency-key", "mine"]])
async def test_other_wishes_are_another_batch(
    commands: Commands, gateway: PlayedGateway, urls: str, arguments: list[str]
) -> None:
    await commands.run("batch", urls)
    assert (await commands.run("batch", urls, *arguments)).code == 0
    assert len(gateway.fetches) == 20


async def test_other_lines_are_another_batch(commands: Commands, gateway: PlayedGateway, urls: str, tmp_path: Path) -> None:
    await commands.run("batch", urls)
    (tmp_path / urls).write_text(URLS + "http://origin.example/10\n")
    await commands.run("batch", urls)
    assert len(gateway.fetches) == 21


async def test_broken_upload_is_repeated_with_its_key(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    batches.broken_uploads = [1, 1]
    assert (await commands.run("batch", urls)).code == 0
    assert (len(batches.submissions), len(set(batches.submissions))) == (3, 1)


async def test_upload_that_breaks_for_good_is_3_and_goes_on_with_the_same_command(
    commands: Commands, gateway: PlayedGateway, batches: PlayedBatches, urls: str
) -> None:
    batches.broken_uploads = [1] * 4
    broken = await commands.run("batch", urls)
    assert (broken.code, broken.out) == (3, "")
    assert "Run the same command again" in broken.err
    assert (await commands.run("batch", urls)).code == 0
    assert (len(set(batches.submissions)), len(gateway.fetches)) == (1, 10)


async def test_upload_of_again_that_breaks_for_good_tells_its_key(
    commands: Commands, gateway: PlayedGateway, batches: PlayedBatches, urls: str
) -> None:
    batches.broken_uploads = [1] * 4
    broken = await commands.run("batch", "--again", urls)
    assert f"--idempotency-key {batches.submissions[0]}" in broken.err


async def test_connection_that_breaks_while_waiting_is_borne(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    submitted = await commands.run("batch", "--detach", urls)
    batches.broken_looks = 6
    assert (await commands.run("batch", "--resume", submitted.out.strip())).code == 0


async def test_interruption_stops_the_waiting_and_says_how_to_resume(
    commands: Commands, batches: PlayedBatches, urls: str
) -> None:
    batches.is_held = True
    process = await commands.start("batch", urls, "--output", "saved here")
    async with asyncio.timeout(30):
        await batches.was_looked_at.wait()
    process.send_signal(signal.SIGINT)
    done = await end(process)
    assert (done.code, done.out) == (130, "")
    assert f"fetchwork batch --resume {next(iter(batches.documents))} --output 'saved here'" in done.err


async def test_timed_out_waiting_is_6_and_says_how_to_resume(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    batches.is_held = True
    done = await commands.run("batch", "--wait-seconds", "0.2", urls)
    assert done.code == 6
    assert f"fetchwork batch --resume {next(iter(batches.documents))}" in done.err


async def test_contents_are_saved_by_line_and_id(commands: Commands, gateway: PlayedGateway, tmp_path: Path) -> None:
    lines = b"http://origin.example/\n\nhttp://empty.example/\nhttp://refused.example/\n"
    done = await commands.run("batch", "-", "--output", "pages", stdin=lines)
    assert done.code == 5
    ids = list(gateway.fetches)
    files = {path.name: path.read_bytes() for path in (tmp_path / "pages").iterdir()}
    index = [json.loads(line) for line in files.pop("fetches.ndjson").splitlines()]
    assert files == {f"1-{ids[0]}.txt": b"a\x00b\nc", f"3-{ids[1]}.txt": b""}
    assert {(entry["id"], entry["file"]) for entry in index} == {
        (ids[0], f"1-{ids[0]}.txt"),
        (ids[1], f"3-{ids[1]}.txt"),
        (ids[2], None),
    }


async def test_saving_goes_on_where_it_ended(commands: Commands, gateway: PlayedGateway, urls: str, tmp_path: Path) -> None:
    gateway.sound_contents, gateway.broken_contents = 3, 100
    broken = await commands.run("batch", urls, "--output", "pages")
    assert broken.code == 3
    assert "To go on saving: fetchwork batch --resume" in broken.err
    gateway.broken_contents, gateway.contents_sent = 0, 0
    assert len(list((tmp_path / "pages").glob("*.txt"))) == 3
    assert (await commands.run("batch", urls, "--output", "pages")).code == 0
    assert gateway.contents_sent == 7
    assert len(list((tmp_path / "pages").glob("*.txt"))) == 10


async def test_folder_that_cannot_be_written_is_1(commands: Commands, urls: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    done = await commands.run("batch", urls, "--output", "taken")
    assert done.code == 1
    assert "taken" in done.err


async def test_terminal_sees_a_bar_on_stderr(commands: Commands, urls: str) -> None:
    screen, terminal = pty.openpty()
    process = await commands.start("batch", urls, stderr=terminal, TERM="xterm")
    os.close(terminal)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    shown = b""
    while True:
        try:
            shown += os.read(screen, 65536)
        except OSError:
            break
    os.close(screen)
    assert (process.returncode, b"succeeded" in out) == (0, True)
    assert "━".encode() in shown
    assert b"100% 10 of 10 done, 0 failed, " in shown


@pytest.mark.parametrize(
    "arguments",
    [[], ["urls.txt", "--resume", UNKNOWN_ID], ["missing"], ["urls.txt", "--again", "--idempotency-key", "x"]]
    + [["urls.txt", "--detach", "--output", "x"], ["--resume", UNKNOWN_ID, "--detach"]],
)
async def test_usage_is_2(commands: Commands, urls: str, arguments: list[str]) -> None:
    assert (await commands.run("batch", *arguments)).code == 2


async def test_line_that_never_ends_is_2_and_named(commands: Commands, gateway: PlayedGateway) -> None:
    done = await commands.run("batch", "-", stdin=b"http://origin.example/\n" + b"x" * (1024 * 1024 + 1))
    assert done.code == 2
    assert "line 2 of -" in done.err
    assert gateway.fetches == {}


async def test_unknown_batch_is_4(commands: Commands) -> None:
    assert (await commands.run("batch", "--resume", UNKNOWN_ID)).code == 4


async def test_quota_that_is_used_up_is_7(commands: Commands, batches: PlayedBatches, urls: str) -> None:
    batches.busy = 10
    done = await commands.run("batch", urls)
    assert (done.code, done.out) == (7, "")
    assert "used up its quota" in done.err


async def test_gateway_that_is_not_there_is_3(tmp_path: Path, urls: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = await Commands(tmp_path, FETCHWORK_URL=url, FETCHWORK_API_KEY="key").run("batch", urls)
    assert done.code == 3
    assert "does not answer" in done.err
