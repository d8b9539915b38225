"""Every expression of the dashboards and of the rules, parsed, and what each asks of whom."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

# What Grafana puts in; any length will do.
PLACEHOLDERS = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}
LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
BY = promql_parser.AggModifierType.By
KEEP_LABELS = {"topk", "bottomk", "limitk"}
OF_VARIABLES = re.compile(r"\Alabel_values\((.+), (\w+)\)\Z")


@dataclass(frozen=True)
class Asked:
    """One expression: where it stands, and the labels that whatever shows its result wants to read."""

    where: str
    text: str
    shown: frozenset[str] = frozenset()

    @property
    def parsed(self) -> promql_parser.Expr:
        """The tree; raises ValueError where this is no PromQL."""
        text = self.text
        for placeholder, length in PLACEHOLDERS.items():
            text = text.replace(placeholder, length)
        return promql_parser.parse(text)


@dataclass(frozen=True)
class Selector:
    """One metric as an expression asks for it: its series' name, and label, operator and value of each matcher."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def of_dashboards(folder: Path) -> Iterator[Asked]:
    """Of every panel, and of the variables that ask for the values of a label."""
    for file in sorted(folder.glob("*.json")):
        page = json.loads(file.read_text(encoding="utf-8"))
        for panel in page["panels"]:
            for target in panel.get("targets", []):
                where = f"{file.name}: {panel['title']}"
                yield Asked(where, target["expr"], frozenset(LEGEND_LABEL.findall(target["legendFormat"])))
        for variable in page["templating"]["list"]:
            if match := OF_VARIABLES.match(variable["query"]):
                yield Asked(f"{file.name}: ${variable['name']}", match[1], frozenset({match[2]}))


def of_rules(folder: Path) -> Iterator[Asked]:
    """Of every alert and recording rule."""
    for file, rule in _rules(folder):
        yield Asked(f"{file.name}: {rule.get('alert') or rule['record']}", str(rule["expr"]))


def recorded(folder: Path) -> set[str]:
    """The names that recording rules make."""
    return {rule["record"] for _, rule in _rules(folder) if "record" in rule}


def selectors(tree: promql_parser.Expr) -> list[Selector]:
    """Every metric that an expression asks for."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((each.name, OPERATORS[str(each.op)], each.value) for each in node.matchers.matchers)
            found.append(Selector(node.name or "", matchers))

    promql_parser.walk(tree, pre_visit=visit)
    return found


def grouped(tree: promql_parser.Expr) -> list[tuple[promql_parser.Expr, set[str]]]:
    """What each aggregation `by` labels goes over, with these labels."""
    found: list[tuple[promql_parser.Expr, set[str]]] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier and node.modifier.type == BY:
            found.append((node.expr, set(node.modifier.labels)))

    promql_parser.walk(tree, pre_visit=visit)
    return found


def labels_of_result(tree: promql_parser.Expr, labels_of: Callable[[str], set[str] | None]) -> set[str] | None:
    """Which labels its result may have; None where that cannot be told, as of a series whose labels `labels_of` does not know."""
    if isinstance(tree, promql_parser.VectorSelector):
        return labels_of(tree.name or "")
    if isinstance(tree, promql_parser.AggregateExpr) and tree.modifier is None:
        inner = labels_of_result(tree.expr, labels_of)
        return inner if str(tree.op) in KEEP_LABELS else set()
    if isinstance(tree, promql_parser.AggregateExpr) and tree.modifier.type == BY:
        return set(tree.modifier.labels)
    found: set[str] = set()
    for part in _parts(tree):
        inner = labels_of_result(part, labels_of)
        if inner is None:
            return None
        found |= inner
    return found


def _parts(tree: promql_parser.Expr) -> list[promql_parser.Expr]:
    if isinstance(tree, promql_parser.BinaryExpr):
        return [tree.lhs, tree.rhs]
    if isinstance(tree, promql_parser.Call):
        return list(tree.args)
    inner = getattr(tree, "expr", getattr(tree, "vector_selector", None))
    return [] if inner is None else [inner]


def _rules(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(folder.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield file, rule
