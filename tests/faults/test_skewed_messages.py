"""Case 33: messages of other releases. What is more than expected is ignored; what cannot be read is recovered and visible."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from common.streams.names import ACCEPTED_STREAM, COMMAND_QUEUE
from harness.checker import assert_kept
from harness.cluster import Cluster
from harness.load import Load, open_load
from harness.messages import Document, accepted_fetch, append, as_bytes, change_command, envelope
from harness.metrics import metric
from harness.waiting import meet_hosts, wait_for

Change = Callable[[Document, Document], None]
NEWS = {"since": "v1.9", "of": ["a", "later", {"release": 1}]}


def _unknown_task(message: Document, command: Document) -> None:
    message["headers"]["task"] = "fetch.perform.v9"


def _no_json(message: Document, command: Document) -> None:
    message["body"] = "AP//e3s="


def _no_celery_body(message: Document, command: Document) -> None:
    message["body"] = "e30="  # {}


def _pickled(message: Document, command: Document) -> None:
    message["content-type"] = "application/x-python-serialize"


def _later_major(message: Document, command: Document) -> None:
    command["type"] = "fetch.perform.v2"


def _of_another_shape(message: Document, command: Document) -> None:
    command["data"] = {"fetches": [{"id": 5}]}


def _with_news(message: Document, command: Document) -> None:
    command["news"] = message["headers"]["news"] = NEWS
    command["data"]["news"] = command["data"]["fetches"][0]["news"] = command["data"]["fetches"][0]["request"]["news"] = NEWS


REJECTED: Mapping[Change, str] = {
    _unknown_task: "unknown_task",
    _no_json: "undecodable",
    _no_celery_body: "undecodable",
    _pickled: "undecodable",
    _later_major: "unknown_type",
    _of_another_shape: "undecodable",
}
"""How each is counted in `fetchwork_commands_rejected_total`."""


async def _submit_to_nobody(cluster: Cluster, load: Load, changes: Sequence[Change]) -> None:
    """Submit one fetch for each change to its command, while no fetcher runs that could take it."""
    await meet_hosts(cluster, load)
    cluster.kill("fetcher", stays_down=True)
    async with cluster.redis("broker") as broker:
        for number, change in enumerate(changes, start=1):
            await load.submit()

            async def is_sent(number: int = number) -> bool:
                return int(await broker.llen(COMMAND_QUEUE)) == number

            await wait_for("the command in the queue", is_sent, seconds=4)
            await change_command(broker, change)


async def test_case_33_commands_that_nobody_can_read_are_counted_and_recovered_by_their_leases(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c33c") as load:
        await _submit_to_nobody(cluster, load, list(REJECTED))
        cluster.start("fetcher")
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert findings.redispatched == len(REJECTED)
    assert findings.hits == len(load.submitted)
    for reason, count in Counter(REJECTED.values()).items():
        assert await metric(cluster, "fetcher", "fetchwork_commands_rejected_total", reason=reason) == count
    assert not [death for death in cluster.deaths if not death.was_killed], "a message ended the fetcher"
    assert load.submitted[-1] not in _complaints(cluster), "the log quotes a message, which may hold credentials"


async def test_case_33_what_is_no_message_at_all_costs_one_restart_and_nothing_else(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c33g") as load:
        await meet_hosts(cluster, load)
        async with cluster.redis("broker") as broker:
            await broker.lpush(COMMAND_QUEUE, b"no message")
        await cluster.wait_death("fetcher")
        await load.submit_many(10)
        findings = await assert_kept(cluster, load)
    assert findings.statuses == {"succeeded": len(load.submitted)}
    assert len(cluster.deaths) == 1


async def test_case_33_what_a_command_has_more_than_expected_is_ignored(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c33m") as load:
        await _submit_to_nobody(cluster, load, [_with_news])
        cluster.start("fetcher")
        findings = await assert_kept(cluster, load)
    assert (findings.statuses, findings.redispatched) == ({"succeeded": len(load.submitted)}, 0)


async def test_case_33_what_an_event_has_more_than_expected_is_ignored(cluster: Cluster) -> None:
    async with open_load(cluster, prefix="c33e") as load:
        fetch = accepted_fetch(cluster.origin.url("c33e-event"), host=cluster.origin.address, news=NEWS)
        event = envelope({"fetches": [{**fetch, "news": NEWS}], "news": NEWS}, type="fetch.accepted.v1", news=NEWS)
        async with cluster.redis("events") as events:
            await append(events, ACCEPTED_STREAM, as_bytes(event))

        async def is_done() -> bool:
            async with cluster.database() as connection:
                found = await connection.fetchval("SELECT status FROM fetches WHERE id = $1::uuid", fetch["id"])
            return bool(found == "succeeded")

        await wait_for("the fetch from another release", is_done)
        await assert_kept(cluster, load)


def _complaints(cluster: Cluster) -> str:
    return "\n".join(line for line in cluster.log("fetcher").splitlines() if '"attempt finished"' not in line)
