"""The verbs of the command line that use the API, against the running stack: what they save, show, say and end with.

Over processes only: what they send and read is the same API either way.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, Ended
from fetchwork_local.stack import Stack
from origin import Origin
from system import ProcessSystem
from website import page

GOOD = 197
TOLD_SECONDS = 20
BAD_LINES = {"50": "not a URL", "100": '{"url": "http://127.9.0.1/", "ulr": 1}', "150": '{"url": '}


@pytest.fixture(scope="module")
async def origin(stack: Stack) -> AsyncIterator[Origin]:
    """The website from hell, as fetchers of this stack reach it."""
    async with ProcessSystem.of(stack).origin() as served:
        yield served


@pytest.fixture
def commands(stack: Stack, tmp_path: Path) -> Commands:
    """Commands that find the stack by its folder."""
    return Commands(tmp_path, FETCHWORK_HOME=str(stack.home.folder))


@pytest.fixture
def urls(origin: Origin, tmp_path: Path) -> str:
    """A file of 200 lines, three of which are bad."""
    lines = [BAD_LINES.get(str(number), f"{origin.url}/page/batch-{number}") for number in range(1, GOOD + len(BAD_LINES) + 1)]
    lines[9] = json.dumps({"url": f"{origin.url}/page/batch-10", "labels": ["own"], "attrs": {"row": "ten"}})
    (tmp_path / "urls.txt").write_text("".join(f"{line}\n" for line in lines))
    return "urls.txt"


async def _told(commands: Commands, count: int, *arguments: str) -> Ended:
    """The events, once there are so many: they are told a moment after their fetches have finished."""
    async with asyncio.timeout(TOLD_SECONDS):
        while len((told := await commands.run("events", *arguments)).out.splitlines()) < count:
            pass
    return told


def _objects(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_a_file_is_fetched_once_however_often_it_is_submitted(
    commands: Commands, urls: str, origin: Origin, tmp_path: Path
) -> None:
    first = await commands.run("batch", urls, "--label", "shop", "--output", "saved")
    assert first.code == 5, first.err
    for line in BAD_LINES:
        assert f"\nline {line}: " in first.err
    assert f"{GOOD} accepted, 3 refused" in first.err and f": {GOOD} succeeded, 3 refused" in first.out
    index = [json.loads(line) for line in (tmp_path / "saved/fetches.ndjson").read_text().splitlines()]
    saved = {fetch["url"].rpartition("/")[2]: (tmp_path / "saved" / fetch["file"]).read_bytes() for fetch in index}
    assert saved == {f"batch-{line}": page(f"batch-{line}") for line in range(1, 201) if str(line) not in BAD_LINES}
    assert {fetch["attrs"]["line"] for fetch in index} == {int(key.partition("-")[2]) for key in saved}
    [ten] = [fetch for fetch in index if fetch["attrs"]["line"] == 10]
    assert (ten["labels"], ten["attrs"]) == (["own", "shop"], {"line": 10, "row": "ten"})

    again = await commands.run("batch", urls, "--label", "shop", "--output", "saved", "--json")
    assert again.code == 5 and "The same lines were submitted before" in again.err
    [document] = _objects(again)
    assert document["id"] == index[0]["batch_id"] and document["total"] == GOOD == document["counts"]["succeeded"]
    assert [error["line"] for error in document["errors"]] == [50, 100, 150]
    hits = await origin.hits("/page/batch-")
    assert len(hits) == GOOD and set(hits.values()) == {1}

    resumed = await commands.run("batch", "--resume", document["id"], "--output", "elsewhere")
    assert resumed.code == 5 and len(list((tmp_path / "elsewhere").iterdir())) == GOOD + 1
    anew = await commands.run("batch", urls, "--again", "--detach")
    assert anew.code == 5 and anew.out.strip() != document["id"]


async def test_lists_have_the_newest_that_match(commands: Commands, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "few").write_text(f"{origin.url}/page/listed-1\nhttp://127.0.0.1:1/\n{origin.url}/page/listed-2\n")
    batch = await commands.run("batch", "few", "--label", "listed")
    assert batch.code == 5 and "refused_address" in batch.out
    listed = await commands.run("list", "--label", "listed", "--status", "succeeded", "--json")
    assert (listed.code, [fetch["url"][-8:] for fetch in _objects(listed)]) == (0, ["listed-2", "listed-1"])
    all_of_them = _objects(await commands.run("list", "--batch", _objects(listed)[0]["batch_id"], "--all", "--json"))
    assert [fetch["status"] for fetch in all_of_them] == ["succeeded", "failed", "succeeded"]
    newest = await commands.run("list", "--host", f"{origin.url.removeprefix('http://')}", "--limit", "1")
    assert (newest.code, len(newest.out.splitlines())) == (0, 1) and "These are the newest 1" in newest.err
    refused = await commands.run("list", "--status", "great")
    assert refused.code == 7 and "status" in refused.err


async def test_a_fetch_is_cancelled_for_ever_and_retried_as_another(commands: Commands, origin: Origin) -> None:
    slow = (await commands.run("fetch", f"{origin.url}/slow/30?cancelled", "--no-wait")).out.strip()
    early = await commands.run("retry", slow)
    assert early.code == 7 and "not finished" in early.err.lower()
    for _ in range(2):
        cancelled = await commands.run("cancel", slow, "--json")
        assert (cancelled.code, _objects(cancelled)[0]["status"]) == (0, "cancelled")
    done = _objects(await commands.run("fetch", f"{origin.url}/page/retried", "--json"))[0]
    late = await commands.run("cancel", done["id"])
    assert late.code == 7 and late.out == ""
    retried = await commands.run("retry", done["id"])
    assert retried.code == 0 and retried.out.strip() != done["id"]
    assert (await commands.run("fetch", retried.out.strip())).code == 0
    assert await origin.hits("/page/retried") == {"/page/retried": 2}
    for verb in ("cancel", "retry"):
        assert (await commands.run(verb, "00000000-0000-7000-8000-000000000000")).code == 4


async def test_a_plan_says_what_would_be_refused(commands: Commands, origin: Origin) -> None:
    good = await commands.run("plan", f"{origin.url}/page/planned")
    assert good.code == 0 and good.out.startswith(f"allow      {origin.url}/page/planned"), good.err
    bad = await commands.run("plan", "http://localhost:1/", "http://169.254.169.254/", "nonsense", f"{origin.url}/", "--json")
    verdicts = [(item["egress"]["verdict"], item["egress"]["reason"]) for item in _objects(bad)]
    assert bad.code == 5
    assert verdicts[:2] == [("refuse", "deny_loopback"), ("refuse", "deny_link_local")]
    assert [verdict for verdict, _ in verdicts[2:]] == ["refuse", "allow"]
    assert await origin.hits("/page/planned") == {}


async def test_events_are_shown_from_where_the_last_reading_ended(commands: Commands, origin: Origin) -> None:
    label = ["--label", "told"]
    await commands.run("batch", "-", *label, stdin=f"{origin.url}/page/told-1\n{origin.url}/page/told-2\n".encode())
    told = await _told(commands, 2, *label, "--json")
    assert (told.code, {event["data"]["url"][-6:] for event in _objects(told)}) == (0, {"told-1", "told-2"})
    cursor = told.err.split()[-3]
    assert told.err.endswith(f"fetchwork events --after {cursor} --label told\n")
    assert (await commands.run("events", "--after", cursor, *label)).out == ""
    await commands.run("batch", "-", *label, stdin=f"{origin.url}/page/told-3\n".encode())
    rest = await _told(commands, 1, "--after", cursor, *label)
    assert (rest.code, len(rest.out.splitlines())) == (0, 1) and f"{origin.url}/page/told-3" in rest.out
    refused = await commands.run("events", "--after", "nowhere")
    assert refused.code == 7 and "To go on" not in refused.err


async def test_keys_live_from_their_making_to_their_revocation(commands: Commands, origin: Origin) -> None:
    made = await commands.run("keys", "create", "walk", "--tenant", "commands", "--queued-fetches", "1000")
    assert made.code == 0 and made.out.startswith("ftch_") and made.out.strip() not in made.err
    [key] = _objects(await commands.run("keys", "list", "--tenant", "commands", "--json"))
    assert (key["state"], key["limits"]["queued_fetches"]) == ("active", 1000) and "secret" not in key
    own = {"FETCHWORK_API_KEY": made.out.strip()}
    assert (await commands.run("fetch", f"{origin.url}/page/keyed", **own)).code == 0
    assert [fetch["url"] for fetch in _objects(await commands.run("list", "--json", **own))] == [f"{origin.url}/page/keyed"]
    not_allowed = await commands.run("keys", "list", **own)
    assert not_allowed.code == 3 and "admin" in not_allowed.err
    changed = await commands.run("keys", "change", key["id"], "--name", "walked", "--queued-fetches", "0", "--json")
    assert (changed.code, _objects(changed)[0]["limits"]["queued_fetches"]) == (0, None)
    rotated = await commands.run("keys", "rotate", key["id"], "--overlap-seconds", "0")
    assert (rotated.code, (await commands.run("list", **own)).code) == (0, 3)
    own["FETCHWORK_API_KEY"] = rotated.out.strip()
    assert (await commands.run("list", **own)).code == 0
    revoked = await commands.run("keys", "revoke", key["id"])
    assert revoked.code == 0 and "revoked" in revoked.out
    refused = await commands.run("list", **own)
    assert refused.code == 3 and own["FETCHWORK_API_KEY"] not in refused.err
    assert "walked" in (await commands.run("keys", "show", key["id"])).out
    assert (await commands.run("keys", "show", "000000000000")).code == 4
