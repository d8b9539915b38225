"""The committed dashboards are what their programs make, and each panel tells what it shows, in which unit."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from dashboards.catalog import PAGES
from dashboards.promql import WINDOW

COLUMNS = 24


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[str, dict[str, Any]]:
    """Every committed dashboard by the name of its file."""
    files = (repository / "deploy/grafana/dashboards").glob("*.json")
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def _panels(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def test_what_is_committed_is_what_the_programs_make(repository: Path) -> None:
    command = [sys.executable, str(repository / "deploy/monitoring/write_dashboards.py"), "--check"]
    check = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stderr


def test_there_are_these_dashboards(pages: dict[str, dict[str, Any]]) -> None:
    assert pages.keys() == {"overview", "api", "pipeline", "hosts", "store", "workers"}
    assert {name: page["uid"] for name, page in pages.items()} == {name: f"fetchwork-{name}" for name in pages}


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_panel_explains_itself(pages: dict[str, dict[str, Any]], name: str) -> None:
    titles = [panel["title"] for panel in _panels(pages[name])]
    assert pages[name]["description"] and len(titles) > 8
    for panel in _panels(pages[name]):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}, panel["title"]
        for target in panel["targets"]:
            assert "rate(" not in target["expr"] or WINDOW in target["expr"], panel["title"]


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_no_panel_lies_on_another(pages: dict[str, dict[str, Any]], name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in pages[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        columns, rows = (range(place[start], place[start] + place[size]) for start, size in (("x", "w"), ("y", "h")))
        for cell in product(columns, rows):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


def test_every_link_leads_to_a_dashboard_or_a_page_of_ours(pages: dict[str, dict[str, Any]], repository: Path) -> None:
    places = [link["url"] for page in pages.values() for panel in page["panels"] for link in _links(panel)]
    places += [link["url"] for page in pages.values() for link in page["links"] if link["type"] == "link"]
    uids = {page["uid"] for page in pages.values()}
    for place in places:
        if place.startswith("/d/"):
            assert place.removeprefix("/d/").partition("?")[0] in uids
        else:
            kept, _, name = place.removeprefix("${docs}/").partition("${")
            assert place.startswith("${docs}/") and (name or (repository / "docs" / kept).is_file()), place
    assert any(place.startswith("/d/") for place in places) and any("runbooks" in place for place in places)


def test_a_status_has_one_colour_everywhere(pages: dict[str, dict[str, Any]]) -> None:
    colours: dict[tuple[str, str], set[str]] = {}
    for page in pages.values():
        for panel in _panels(page):
            legends = {target["legendFormat"] for target in panel["targets"]}
            for override in panel["fieldConfig"].get("overrides") or []:
                for each in override["properties"]:
                    for legend in legends:
                        colours.setdefault((legend, override["matcher"]["options"]), set()).add(each["value"]["fixedColor"])
    assert ("{{status}}", "succeeded") in colours
    assert {key: found for key, found in colours.items() if len(found) > 1} == {}


def _links(panel: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = panel.get("fieldConfig", {}).get("defaults", {}).get("links") or []
    return found
