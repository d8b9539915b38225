"""What our dashboards are made of: traffic lights, numbers, graphs and tables that look the same wherever they stand.

A series is a query and its legend. Where the legend is one label, `{{status}}`, the values of that label have one colour on every
dashboard. Thresholds stand where an objective or a limit has its edge; the colours say on which side we are.
"""

import re
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as drawing
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.colours import BY_LABEL, GOOD, ODD, WRONG

Series = tuple[str, str]
"""A query, and what the legend says; `{{label}}` is the value of that label."""
Panel = Any
"""Builders of panels have no type in common."""

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="$datasource")
GRAPH_ROWS, LIGHT_ROWS = 8, 4
_ONE_LABEL = re.compile(r"\A\{\{(\w+)\}\}\Z")
_SPACE = re.compile(r"\s+")


def light(
    title: str,
    about: str,
    query: str,
    *,
    unit: str = "none",
    odd: float | None = None,
    wrong: float,
    width: int = 4,
    low: bool = False,
    see: str = "",
) -> Panel:
    """One number on green, yellow from `odd` on, red from `wrong` on; with `low` the small numbers are the bad ones.

    A click leads to the dashboard `see`, which says more.
    """
    edges = _low_edges(odd, wrong) if low else _high_edges(odd, wrong)
    panel = _framed(stat.Panel(), title, about, [(query, "")], unit, width, LIGHT_ROWS)
    if see:
        panel = panel.data_links([_link(f"More: {see}", f"/d/fetchwork-{see}?${{__url_time_range}}")])
    return (
        panel.thresholds(edges)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(drawing.BigValueColorMode.BACKGROUND)
        .graph_mode(drawing.BigValueGraphMode.AREA)
        .no_value("no data")
    )


def number(title: str, about: str, query: str, *, unit: str = "short", width: int = 4) -> Panel:
    """One number that is neither good nor bad."""
    panel = _framed(stat.Panel(), title, about, [(query, "")], unit, width, LIGHT_ROWS)
    return panel.color_mode(drawing.BigValueColorMode.NONE).graph_mode(drawing.BigValueGraphMode.AREA).no_value("no data")


def graph(
    title: str,
    about: str,
    *series: Series,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    edge: float | None = None,
    high: float | None = None,
) -> Panel:
    """Lines over time, or areas that add up. `edge` draws an objective or a limit as a line; `high` ends the axis."""
    panel = _framed(timeseries.Panel(), title, about, series, unit, width, GRAPH_ROWS).min(0).line_width(1)
    panel = panel.fill_opacity(40 if stacked else 8).show_points(drawing.VisibilityMode.NEVER)
    panel = panel.legend(
        common.VizLegendOptions()
        .display_mode(drawing.LegendDisplayMode.TABLE)
        .placement(drawing.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel = panel.tooltip(common.VizTooltipOptions().mode(drawing.TooltipDisplayMode.MULTI).sort(drawing.SortOrder.DESCENDING))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(drawing.StackingMode.NORMAL).group("A"))
    if high is not None:
        panel = panel.max(high)
    if edge is not None:
        panel = panel.thresholds(_high_edges(None, edge)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(drawing.GraphTresholdsStyleMode.DASHED)
        )
    return _coloured(panel, series)


def bars(title: str, about: str, query: str, legend: str, *, unit: str = "short", width: int = 8) -> Panel:
    """One bar for each series, longest first."""
    panel = _framed(bargauge.Panel(), title, about, [(f"sort_desc({query})", legend)], unit, width, GRAPH_ROWS, instant=True)
    panel = panel.orientation(drawing.VizOrientation.HORIZONTAL).display_mode(drawing.BarGaugeDisplayMode.BASIC).min(0)
    return panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))


def timeline(title: str, about: str, query: str, legend: str, *, words: tuple[str, str], good: int = 1, width: int = 12) -> Panel:
    """When something was so and when it was not: 0 and 1 are told by `words`, and `good` is the green one of them."""
    shades = (GOOD, WRONG) if good == 0 else (WRONG, GOOD)
    results = {str(value): model.ValueMappingResult(text=words[value], color=shades[value], index=value) for value in (0, 1)}
    panel = _framed(statetimeline.Panel(), title, about, [(query, legend)], "none", width, GRAPH_ROWS)
    return panel.mappings([model.ValueMap(options=results)]).show_value(drawing.VisibilityMode.NEVER).row_height(0.8)


def listing(title: str, about: str, query: str, *, link: tuple[str, str] | None = None, width: int = 12) -> Panel:
    """What there is now, a row for each series; `link` is the title and the address of what leads on from each row."""
    panel = _framed(table.Panel(), title, about, [(query, "")], "short", width, GRAPH_ROWS, instant=True, as_table=True)
    excluded = {name: True for name in ("Time", "Value", "__name__")}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options={"excludeByName": excluded}))
    if link:
        panel = panel.data_links(
            [dashboard.DashboardLink(link[0]).type(model.DashboardLinkType.LINK).url(link[1]).target_blank(True)]
        )
    return panel.show_header(True).no_value("none")


def _link(title: str, address: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(model.DashboardLinkType.LINK).url(address)


def _framed(
    panel: Panel,
    title: str,
    about: str,
    series: Any,
    unit: str,
    width: int,
    rows: int,
    *,
    instant: bool = False,
    as_table: bool = False,
) -> Panel:
    panel = (
        panel.title(title).description(_SPACE.sub(" ", about).strip()).datasource(DATASOURCE).unit(unit).span(width).height(rows)
    )
    for place, (query, legend) in enumerate(series):
        target = prometheus.Dataquery().expr(query).legend_format(legend or "__auto").ref_id(chr(ord("A") + place))
        target = target.instant() if instant else target.range()
        panel = panel.with_target(target.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES))
    return panel


def _coloured(panel: Panel, series: tuple[Series, ...]) -> Panel:
    labels = [match[1] for _, legend in series if (match := _ONE_LABEL.match(legend))]
    fixed = {value: colour for label in labels for value, colour in BY_LABEL.get(label, {}).items()}
    for value, colour in fixed.items():
        shade = model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_name(value, [shade])
    return panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))


def _high_edges(odd: float | None, wrong: float) -> dashboard.ThresholdsConfig:
    return _edges((None, GOOD), (odd, ODD), (wrong, WRONG))


def _low_edges(odd: float | None, wrong: float) -> dashboard.ThresholdsConfig:
    return _edges((None, WRONG), (wrong, ODD if odd is not None else GOOD), (odd, GOOD))


def _edges(first: tuple[None, str], *others: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value=first[0], color=first[1])]
    steps += [model.Threshold(value=value, color=colour) for value, colour in others if value is not None]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)
