"""Every metric that a dashboard or a rule asks for exists, and every metric that we export is asked for or listed as not."""

import re
import tomllib
from pathlib import Path

import pytest
from exported import Family, families
from expressions import Asked, grouped, labels_of_result, of_dashboards, of_rules, recorded, selectors

FROM_SCRAPES = {"job", "instance", "namespace", "pod", "container"}
FROM_PROMETHEUS = re.compile(
    r"\A(up|ALERTS|ALERTS_FOR_STATE|scrape_\w+|prometheus_\w+|alertmanager_\w+|kubelet_volume_stats_\w+|node_filesystem_\w+)\Z"
)
# Their values come with the settings and with what is started, not with the registry.
OPEN_LABELS = {"link", "loop", "pool"}


@pytest.fixture(scope="module")
def exported() -> dict[str, Family]:
    """Every family by its name."""
    return families()


@pytest.fixture(scope="module")
def by_series(exported: dict[str, Family]) -> dict[str, Family]:
    """The same by the name of each series."""
    return {series: family for family in exported.values() for series in family.series}


@pytest.fixture(scope="module")
def rules(repository: Path) -> Path:
    """The folder of the rules."""
    return repository / "deploy/prometheus/rules"


@pytest.fixture(scope="module")
def asked(repository: Path, rules: Path) -> list[Asked]:
    """Every expression."""
    found = [*of_dashboards(repository / "deploy/grafana/dashboards"), *of_rules(rules)]
    assert len(found) > 150
    return found


def test_every_expression_is_promql(asked: list[Asked]) -> None:
    broken = {}
    for each in asked:
        try:
            assert selectors(each.parsed)
        except ValueError as error:
            broken[each.where] = str(error)
    assert broken == {}


def test_every_metric_that_is_asked_for_exists(asked: list[Asked], by_series: dict[str, Family], rules: Path) -> None:
    known = by_series.keys() | recorded(rules)
    missing = {
        f"{each.where}: {selector.name}"
        for each in asked
        for selector in selectors(each.parsed)
        if selector.name not in known and not FROM_PROMETHEUS.match(selector.name)
    }
    assert missing == set()


def test_every_label_that_is_asked_for_exists(asked: list[Asked], by_series: dict[str, Family]) -> None:
    """In matchers, in `by`, and in legends: what shows a result reads only labels that the result still has."""
    wrong = set()
    for each in asked:
        tree = each.parsed
        for selector in selectors(tree):
            labels = _labels_of(selector.name, by_series)
            if labels is not None and (unknown := {name for name, _, _ in selector.matchers} - labels):
                wrong.add(f"{each.where}: {selector.name} by {sorted(unknown)}")
        for inner, wanted in [*grouped(tree), (tree, set(each.shown))]:
            labels = labels_of_result(inner, lambda name: _labels_of(name, by_series))
            if labels is not None and (unknown := wanted - labels):
                wrong.add(f"{each.where}: no {sorted(unknown)} in {each.text}")
    assert wrong == set()


def test_every_value_that_is_asked_for_exists(asked: list[Asked], by_series: dict[str, Family]) -> None:
    """`le` too: an edge that is none of the histogram's gives nothing, for ever and without an error."""
    wrong = set()
    for each in asked:
        for selector in selectors(each.parsed):
            family = by_series.get(selector.name)
            for label, operator, value in selector.matchers if family else ():
                there = {"job": family.services}.get(label) or family.values.get(label)
                if there and label not in OPEN_LABELS and not _is_met(operator, value, there):
                    wrong.add(f"{each.where}: {selector.name}{{{label}{operator}{value}}}, but there are {sorted(there)}")
    assert wrong == set()


def test_every_metric_of_ours_is_used_or_listed_as_not(
    repository: Path, asked: list[Asked], exported: dict[str, Family], by_series: dict[str, Family]
) -> None:
    listed = tomllib.loads((repository / "deploy/monitoring/unused.toml").read_text(encoding="utf-8"))
    used = {by_series[selector.name].name for each in asked for selector in selectors(each.parsed) if selector.name in by_series}
    ours = {name for name in exported if name.startswith("fetchwork_")}
    assert ours - used - listed.keys() == set(), "exported, but on no dashboard, in no rule and not listed in unused.toml"
    assert listed.keys() & used == set(), "listed as not used, but used"
    assert listed.keys() - ours == set(), "listed, but not exported"
    assert all(len(reason) > 20 for reason in listed.values()), "a reason is a sentence"


def _labels_of(series: str, by_series: dict[str, Family]) -> set[str] | None:
    """None for what we do not export: recorded series and those of Prometheus itself."""
    family = by_series.get(series)
    if family is None:
        return None
    return (family.labels if series.endswith("_bucket") else family.labels - {"le"}) | FROM_SCRAPES


def _is_met(operator: str, value: str, there: set[str]) -> bool:
    if operator in ("=", "!="):
        return value in there
    return value.startswith("$") or any(re.fullmatch(value, each) for each in there)
