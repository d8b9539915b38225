"""One dashboard: what all of them share, and rows of panels in reading order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.panels import DATASOURCE, Panel

TAG = "fetchwork"
REFRESH = "10s"
TIME_SHOWN = "now-1h"


@dataclass(frozen=True)
class Row:
    """Panels under one heading, from left to right; a line of them is 24 wide."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A dashboard: its name in addresses, what it answers, and whose instances its readers choose from."""

    name: str
    title: str
    answers: str
    services: Sequence[str]
    rows: Sequence[Row] = field(repr=False)

    def text(self) -> str:
        """The JSON that Grafana is given, the same for the same program."""
        built = self._builder().build()
        for number, panel in enumerate(built.panels or [], start=1):
            panel.id_val = number
        return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

    def _builder(self) -> dashboard.Dashboard:
        page = (
            dashboard.Dashboard(f"Fetchwork: {self.title}")
            .uid(f"fetchwork-{self.name}")
            .description(self.answers)
            .tags([TAG])
            .readonly()
            .timezone("utc")
            .time(TIME_SHOWN, "now")
            .refresh(REFRESH)
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .variables([_datasource(), _instance(self.services), _docs()])
            .links([_other_pages(), _explanation()])
        )
        for row in self.rows:
            page = page.with_row(dashboard.Row(row.title))
            for panel in row.panels:
                page = page.with_panel(panel)
        return page


def _datasource() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _instance(services: Sequence[str]) -> dashboard.QueryVariable:
    build = f'fetchwork_build_info{{service=~"{"|".join(services)}"}}'
    return (
        dashboard.QueryVariable("instance")
        .label("Instance")
        .datasource(DATASOURCE)
        .query(f"label_values({build}, instance)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _docs() -> dashboard.TextBoxVariable:
    return (
        dashboard.TextBoxVariable("docs")
        .label("Address of docs/")
        .description("Where the folder docs/ of this repository is read; links to runbooks begin with it.")
        .default_value("docs")
    )


def _other_pages() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Fetchwork").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(False).include_vars(False).keep_time(True)


def _explanation() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("How to read this").type(model.DashboardLinkType.LINK).icon("doc")
    return link.url("${docs}/dashboards.md").target_blank(True)
