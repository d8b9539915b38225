"""robots.txt (RFC 9309) is asked for once for all fetchers and obeyed before every hop, unless the caller says otherwise."""

import asyncio
from datetime import UTC, datetime, timedelta

from driver import Driver
from origin import Origin

RULES = "User-agent: *\nCrawl-delay: 2\nDisallow: /page/private\nAllow: /page/private-not\n"
PAGES = 40


async def test_a_disallowed_page_is_refused_by_its_line_and_never_asked_for(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(RULES)
    refused, allowed, ignored = await asyncio.gather(
        driver.fetch(f"{base}/page/private-refused"),
        driver.fetch(f"{base}/page/private-not-refused"),
        driver.fetch(f"{base}/page/private-ignored", robots="ignore"),
    )
    assert (refused["status"], refused["error"]["type"]) == ("failed", "refused_robots")
    assert refused["error"]["detail"].endswith("Disallow: /page/private")
    assert [attempt["outcome"] for attempt in refused["attempts"]] == ["refused"], "a refusal is final"
    robots = refused["attempts"][0]["evidence"]["robots"]
    assert (robots["verdict"], robots["line"], robots["crawl_delay_seconds"]) == ("disallowed", "Disallow: /page/private", 2)
    assert (robots["url"], robots["status"]) == (f"{base}/robots.txt", 200)
    assert allowed["status"] == "succeeded"
    assert allowed["attempts"][0]["evidence"]["robots"]["line"] == "Allow: /page/private-not"
    assert ignored["status"] == "succeeded"
    assert ignored["attempts"][0]["evidence"]["robots"]["verdict"] == "ignored"
    assert await origin.hits("/page/private") == {"/page/private-not-refused": 1, "/page/private-ignored": 1}


async def test_a_redirect_into_what_is_disallowed_is_not_followed(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(RULES)
    documents = await asyncio.gather(
        driver.fetch(f"{base}/redirect?to=/page/private-within"),
        driver.fetch(f"{origin.url}/redirect?to={base}/page/private-across"),
    )
    for document in documents:
        assert (document["status"], document["error"]["type"]) == ("failed", "refused_robots")
        [hop] = document["attempts"][0]["evidence"]["hops"]
        assert hop["status"] == 302 and "/redirect" in hop["url"]
    hits = await origin.hits()
    assert hits["/page/private-within"] == hits["/page/private-across"] == 0


async def test_many_pages_cost_one_robots_txt_whoever_fetches_them(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(RULES.replace("Crawl-delay: 2\n", ""))
    await driver.fetch(f"{base}/page/many-first")
    documents = await driver.finish_all(await driver.submit_all(f"{base}/page/many-{number}" for number in range(PAGES)))
    assert {document["status"] for document in documents} == {"succeeded"}
    assert await origin.robots_hits(base) == 1


async def test_without_a_robots_txt_all_is_allowed(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(status=404)
    document = await driver.fetch(f"{base}/page/private-unruled")
    assert document["status"] == "succeeded"
    robots = document["attempts"][0]["evidence"]["robots"]
    assert (robots["verdict"], robots["status"]) == ("unavailable", 404)


async def test_a_robots_txt_that_cannot_be_read_refuses_for_a_while(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(status=503)
    ended = await driver.fetch(f"{base}/page/unreachable", retries={"max": 0})
    assert (ended["status"], ended["error"]["type"]) == ("failed", "refused_robots")
    assert "503" in ended["error"]["detail"]
    evidence = ended["attempts"][0]["evidence"]
    assert evidence["robots"]["verdict"] == "unreachable" and evidence["hops"] == []
    path = await driver.submit(f"{base}/page/unreachable", retries={"max": 1, "backoff_seconds": 0.05})
    async with asyncio.timeout(15):
        while (waits := (document := (await driver.client.get(path)).json())["waiting"] or {}).get("reason") != "retry":
            await asyncio.sleep(0.02)
    assert [attempt["error"] for attempt in document["attempts"]] == ["refused_robots"]
    until = datetime.fromisoformat(waits["until"]) - datetime.now(UTC)
    assert timedelta(seconds=40) < until < timedelta(seconds=70), "when the file is asked for again, not after our back-off"
    assert await origin.hits("/page/unreachable") == {}
