"""What all dashboards are made of: panels from queries, rows of panels, variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
PEERS = 'job="$job", instance=~"$instance"'
"""The selector of every query."""
WINDOW = "$__rate_interval"
FULL = 'Needs [metrics] detail = "full" on the peers.'
WIDTH, HEIGHT, STAT_HEIGHT, STATS_A_ROW = 24, 8, 4, 6
GOOD, WARN, BAD, OFF = "green", "orange", "red", "text"

PanelBuilder = timeseries.Panel | stat.Panel | statetimeline.Panel | heatmap.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel, heatmap.Panel)


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = "{{instance}}"
    format: PromQueryFormat = PromQueryFormat.TIME_SERIES
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that share the width evenly."""

    title: str
    panels: Sequence[PanelBuilder]
    height: int = HEIGHT


def gauge(metric: str, **labels: str) -> str:
    """The series of the peers that are selected, and of labels: `kind="own"`, or `kind="~own|ack"`."""
    chosen = [
        f'{label}=~"{value[1:]}"' if value.startswith("~") else f'{label}="{value}"'
        for label, value in labels.items()
    ]
    return f"{metric}{{{', '.join((PEERS, *chosen))}}}"


def rate(metric: str, by: str = "instance", **labels: str) -> str:
    """Sum of the rates of a counter's series."""
    return f"sum by ({by}) (rate({gauge(metric, **labels)}[{WINDOW}]))"


def increase(metric: str, by: str, **labels: str) -> str:
    """Of a counter, in 15 minutes: what happens too seldom for a rate."""
    return f"sum by ({by}) (increase({gauge(metric, **labels)}[15m]))"


def quantile(q: float, metric: str, by: str = "") -> str:
    """Of a histogram, over all peers that are selected, or by label."""
    within = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', within)})"


# -- panels ---------------------------------------------------------------------


def graph(
    title: str,
    *queries: Query,
    unit: str = units.Short,
    about: str = "",
    stacked: bool = False,
    least: float | None = 0.0,
    most: float | None = None,
) -> timeseries.Panel:
    """Lines over time; stacked ones are filled."""
    panel = (
        timeseries.Panel()
        .fill_opacity(40 if stacked else 0)
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    return _common(panel, title, queries, unit, about)


def number(
    title: str,
    expr: str,
    *,
    unit: str = units.Short,
    about: str = "",
    steps: Sequence[tuple[float, str]] = (),
    legend: str = "",
    names: bool = False,
) -> stat.Panel:
    """One figure, now. `steps`: from which value on it has which colour. `names`: show the legend instead."""
    panel = (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.NAME if names else common.BigValueTextMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
    )
    return _common(panel, title, (Query(expr, legend, instant=True),), unit, about)


def states(
    title: str, *queries: Query, values: Mapping[int, tuple[str, str]], about: str = ""
) -> statetimeline.Panel:
    """Coloured bars over time. `values`: the text and colour of each value."""
    options = {
        str(value): ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(values.items())
    }
    panel = (
        statetimeline.Panel()
        .mappings([ValueMap(options=options)])
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .legend(_legend())
        .row_height(0.8)
        .fill_opacity(80)
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(()))
    )
    return _common(panel, title, queries, units.NoUnit, about)


def heat(title: str, expr: str, *, about: str = "") -> heatmap.Panel:
    """The distribution of a histogram over time; `expr` sums by `le`."""
    panel = heatmap.Panel().calculate(False).show_legend().cell_gap(1)
    query = Query(expr, "{{le}}", PromQueryFormat.HEATMAP)
    return _common(panel, title, (query,), units.NoUnit, about)


def _common(panel: P, title: str, queries: Sequence[Query], unit: str, about: str) -> P:
    panel.title(title).datasource(SOURCE).unit(unit)
    if about:
        panel.description(about)
    for index, query in enumerate(queries):
        target = (
            prometheus.Dataquery()
            .datasource(SOURCE)
            .expr(query.expr)
            .legend_format(query.legend)
            .format(query.format)
            .ref_id(chr(ord("A") + index))
        )
        panel.with_target(target.instant() if query.instant else target.range())
    return panel


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def _thresholds(steps: Sequence[tuple[float, str]]) -> builders.ThresholdsConfig:
    first = Threshold(value=None, color=OFF)
    rest = [Threshold(value=value, color=color) for value, color in steps]
    return builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([first, *rest])


# -- dashboards -----------------------------------------------------------------


def dashboard(uid: str, title: str, about: str, rows: Sequence[Row], *, one_peer: bool = False) -> Dashboard:
    """Ids and places of panels follow from their order. `one_peer`: it shows one at a time."""
    board = (
        builders.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["peerd"])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("peerd")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["peerd"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Network", "label_values(peerd_build_info, job)"))
        .with_variable(
            _variable(
                "instance",
                "Peer" if one_peer else "Peers",
                'label_values(peerd_build_info{job="$job"}, instance)',
                many=not one_peer,
            )
        )
    )
    number_of = 0
    for row in rows:
        number_of += 1
        board.with_row(builders.Row(row.title).id(number_of))
        for panel in row.panels:
            number_of += 1
            width = WIDTH // len(row.panels)
            board.with_panel(panel.id(number_of).span(width).height(row.height))
    return board.build()


def _variable(name: str, label: str, query: str, *, many: bool = False) -> builders.QueryVariable:
    variable = (
        builders.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    return variable.multi(True).include_all(True).all_value(".+") if many else variable
