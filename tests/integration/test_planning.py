"""A plan over the whole system: what it says about robots.txt and pace is what fetches find, and it visits nobody itself."""

from typing import Any

from driver import Document, Driver
from origin import Origin

RULES = "User-agent: *\nCrawl-delay: 1\nDisallow: /page/private\n"


async def _plan(driver: Driver, *urls: str) -> list[Document]:
    answer = await driver.client.post("/v1/fetches:plan", json={"urls": urls})
    assert answer.status_code == 200, answer.text
    items: list[Document] = answer.json()["items"]
    return items


def _told(item: Document) -> tuple[Any, ...]:
    return item["egress"]["verdict"], item["egress"]["reason"], (item["robots"] or {}).get("verdict")


async def test_a_plan_knows_what_fetches_have_learned_and_asks_nobody(driver: Driver, origin: Origin) -> None:
    base = await origin.with_robots(RULES)
    urls = [f"{base}/page/private-planned", f"{base}/page/planned", "http://127.0.0.1:1/", "http://localhost:1/", "gopher://a/"]
    before = [_told(item) for item in await _plan(driver, *urls)]
    assert before == [
        ("allow", "unsafe_network", "unknown"),
        ("allow", "unsafe_network", "unknown"),
        ("refuse", "deny_loopback", None),
        ("refuse", "deny_loopback", None),
        ("refuse", "deny_scheme", None),
    ]
    assert await origin.robots_hits(base) == 0 and await origin.hits("/page/planned") == {}
    assert (await driver.fetch(f"{base}/page/met"))["status"] == "succeeded"
    private, public, *_ = await _plan(driver, *urls)
    assert (private["robots"]["verdict"], private["robots"]["line"]) == ("disallowed", "Disallow: /page/private")
    assert (public["robots"]["verdict"], public["robots"]["crawl_delay_seconds"]) == ("allowed", 1)
    assert (public["pace"]["rule"], public["pace"]["delay_ms"], public["pace"]["max_in_flight"]) == ("robots", 1000, 1)
    assert await origin.robots_hits(base) == 1 and await origin.hits("/page/planned") == {}
    refused = await driver.fetch(private["url"])
    assert refused["error"]["type"] == "refused_robots" and refused["error"]["detail"].endswith(private["robots"]["line"])
    assert (await driver.fetch(urls[2]))["attempts"][0]["evidence"]["hops"][0]["verdict"] == "deny_loopback", "the very word"
