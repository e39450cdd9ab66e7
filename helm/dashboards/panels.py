"""Lines, graphs, numbers and columns; and the panels and dashboards that Grafana's library makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 24, 8
QUEUE = "{{namespace}}/{{name}}"
SECONDS, COUNT, RATIO, BYTES, RATE = "s", "short", "percentunit", "bytes", "cps"


class Line(NamedTuple):
    """One expression, and what its series are called."""

    expression: str
    legend: str


class Graph(NamedTuple):
    """A panel over time. `says`: what it is good for."""

    title: str
    says: str
    unit: str
    lines: tuple[Line, ...]
    stacked: bool = False


class Number(NamedTuple):
    """A panel with the number of the moment. From `red_from` on, or below with a negative one, it is red."""

    title: str
    says: str
    unit: str
    expression: str
    red_from: float | None = None
    green_from: float | None = None


class Column(NamedTuple):
    """A column of a table of queues."""

    title: str
    expression: str
    unit: str = COUNT


def query(line: Line, *, number: int = 0, instant: bool = False, rows: bool = False) -> prometheus.Dataquery:
    """A query of a panel."""
    found = (
        prometheus.Dataquery().expr(line.expression).legend_format(line.legend).ref_id(chr(ord("A") + number))
    )
    if rows:
        found = found.format(PromQueryFormat.TABLE)
    return found.instant() if instant else found.range()


def colours(number: Number) -> dashboard.ThresholdsConfig:
    """Green and red, and where the one begins."""
    first, then, at = "green", "red", number.red_from
    if number.green_from is not None:
        first, then, at = "red", "green", number.green_from
    steps = [Threshold(value=None, color=first)]
    if at is not None:
        steps.append(Threshold(value=at, color=then))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def number_panel(number: Number, width: int) -> stat.Panel:
    """The panel of a number."""
    return (
        stat.Panel()
        .title(number.title)
        .description(number.says)
        .datasource(SOURCE)
        .unit(number.unit)
        .no_value("unknown")
        .thresholds(colours(number))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(VizOrientation.AUTO)
        .span(width)
        .height(4)
        .with_target(query(Line(number.expression, number.title), instant=True))
    )


def graph_panel(graph: Graph) -> timeseries.Panel:
    """The panel of a graph."""
    found = (
        timeseries.Panel()
        .title(graph.title)
        .description(graph.says)
        .datasource(SOURCE)
        .unit(graph.unit)
        .min(0)
        .fill_opacity(30 if graph.stacked else 5)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .span(WIDTH // 2)
        .height(HEIGHT)
    )
    if graph.stacked:
        found = found.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for number, line in enumerate(graph.lines):
        found = found.with_target(query(line, number=number))
    return found


def queue_table(columns: tuple[Column, ...]) -> table.Panel:
    """A row for each queue."""
    found, names = table.Panel().title("All queues"), {}
    for number, column in enumerate(columns):
        found = found.with_target(query(Line(column.expression, ""), number=number, instant=True, rows=True))
        letter = chr(ord("A") + number)
        names[f"Value #{letter}"] = column.title
        found = found.override_by_name(column.title, [DynamicConfigValue(id_val="unit", value=column.unit)])
    return _of_queues(found.height(10), names, ("Time",))


def condition_table(expression: str) -> table.Panel:
    """A row for each condition that is not as one wishes."""
    found = table.Panel().title("What is not as one wishes").no_value("all is well").height(6)
    found = found.with_target(query(Line(expression, ""), instant=True, rows=True))
    return _of_queues(found, {"type": "Condition", "reason": "Reason"}, ("Time", "Value"))


def _of_queues(found: table.Panel, names: Mapping[str, str], left_out: tuple[str, ...]) -> table.Panel:
    """Its rows are of queues, of which each name leads to its own dashboard."""
    chosen = "var-namespace=${__data.fields.Namespace}&var-name=${__data.fields.Name}"
    link = {"title": "This queue", "url": f"/d/redisqueue-queue?{chosen}&${{__url_time_range}}"}
    organized = {
        "excludeByName": dict.fromkeys(left_out, True),
        "indexByName": {"namespace": 0, "name": 1},
        "renameByName": {"namespace": "Namespace", "name": "Name", **names},
    }
    return (
        found.description("Click a name to see one.")
        .datasource(SOURCE)
        .span(WIDTH)
        .override_by_name("Name", [DynamicConfigValue(id_val="links", value=[link])])
        .transformations(
            [
                DataTransformerConfig(id_val="merge", options={}),
                DataTransformerConfig(id_val="organize", options=organized),
            ]
        )
    )


def blank(title: str, uid: str, says: str) -> dashboard.Dashboard:
    """A dashboard without panels."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(says)
        .tags(["redisqueue"])
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .link(
            dashboard.DashboardLink("RedisQueue")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["redisqueue"])
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )


def variable(name: str, of: str, *, all_of_them: bool = False) -> dashboard.QueryVariable:
    """What one may choose from: the values of that label."""
    found = (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values(redisqueue_workers_replicas{of}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    return found.include_all(True).multi(True).all_value(".*") if all_of_them else found


def filled(board: dashboard.Dashboard, rows: Mapping[str, tuple[Graph, ...]]) -> str:
    """The dashboard's JSON."""
    for title, graphs in rows.items():
        board = board.with_row(dashboard.Row(title))
        for graph in graphs:
            board = board.with_panel(graph_panel(graph))
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"
