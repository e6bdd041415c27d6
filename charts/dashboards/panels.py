"""The kinds of panels that the dashboards use, all of Grafana's core."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from charts.dashboards.model import Json, Panel, Query

GREEN, ORANGE, RED, NEUTRAL = "green", "orange", "red", "text"
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
Steps = Sequence[tuple[float, str]]


def rising(warning: float, bad: float) -> Json:
    """Thresholds of what is bad when it is large."""
    return steps(GREEN, (warning, ORANGE), (bad, RED))


def falling(bad: float, good: float) -> Json:
    """Thresholds of what is bad when it is small."""
    return steps(RED, (bad, ORANGE), (good, GREEN))


def steps(base: str, *above: tuple[float, str]) -> Json:
    """Thresholds by colour: `base`, and what is from each value on."""
    colours: list[Json] = [{"value": None, "color": base}, *({"value": value, "color": name} for value, name in above)]
    return {"mode": "absolute", "steps": colours}


def meanings(said: Mapping[int, tuple[str, str]]) -> list[Json]:
    """What to show, and in which colour, for each of a few numbers."""
    shown = {str(value): {"text": text, "color": colour, "index": index}
             for index, (value, (text, colour)) in enumerate(said.items())}  # fmt: skip
    return [{"type": "value", "options": shown}]


def graph(
    number: int,
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    nothing: str = "no data",
    limits: Json | None = None,
    stacked: bool = False,
    width: int = 12,
    **defaults: Any,
) -> Panel:
    """Lines over time, with the thresholds `limits` as lines of their own; `stacked` ones add up to the whole."""
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 40 if stacked else 0, "showPoints": "never",
        "spanNulls": False, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if limits is None else "dashed"}, "axisSoftMin": 0,
    }  # fmt: skip
    field = {"custom": custom, "color": {"mode": "palette-classic"}, "thresholds": limits or steps(NEUTRAL), **defaults}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(number, "timeseries", title, description, unit, queries, width, 8, nothing, field, options)


def stat(
    number: int,
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    nothing: str = "no data",
    limits: Json | None = None,
    width: int = 4,
    height: int = 5,
    **defaults: Any,
) -> Panel:
    """One number, as it is at the end of the time range."""
    field = {"color": {"mode": "thresholds"}, "thresholds": limits or steps(NEUTRAL), **defaults}
    options = {
        "reduceOptions": _LAST, "colorMode": "value", "graphMode": "none", "justifyMode": "center",
        "textMode": "value", "orientation": "auto", "wideLayout": True,
    }  # fmt: skip
    query = Query(expr, instant=True)
    return Panel(number, "stat", title, description, unit, [query], width, height, nothing, field, options)


def bars(
    number: int,
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limits: Json,
    most: float,
    nothing: str = "no data",
    width: int = 12,
    height: int = 8,
) -> Panel:
    """A bar for each series, up to `most`."""
    field = {"color": {"mode": "thresholds"}, "thresholds": limits, "min": 0, "max": most}
    options = {
        "reduceOptions": _LAST, "displayMode": "basic", "orientation": "horizontal", "valueMode": "color",
        "showUnfilled": True, "minVizHeight": 16, "minVizWidth": 8, "sizing": "auto", "namePlacement": "auto",
    }  # fmt: skip
    asked = [replace(query, instant=True)]
    return Panel(number, "bargauge", title, description, unit, asked, width, height, nothing, field, options)


def timeline(
    number: int,
    title: str,
    description: str,
    query: Query,
    said: Mapping[int, tuple[str, str]],
    *,
    nothing: str = "no data",
    width: int = 12,
) -> Panel:
    """For each series a bar over time, coloured by what its number means."""
    field = {
        "color": {"mode": "thresholds"}, "thresholds": steps(NEUTRAL), "mappings": meanings(said),
        "custom": {"lineWidth": 0, "fillOpacity": 70},
    }  # fmt: skip
    options = {
        "mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }  # fmt: skip
    return Panel(number, "state-timeline", title, description, "none", [query], width, 8, nothing, field, options)


def heatmap(number: int, title: str, description: str, unit: str, expr: str, *, width: int = 12) -> Panel:
    """How often each bucket (label `le`) of a histogram was met, over time."""
    options = {
        "calculate": False, "cellGap": 1, "yAxis": {"unit": unit, "axisPlacement": "left"},
        "color": {
            "mode": "scheme", "scheme": "Oranges", "reverse": False, "steps": 64, "exponent": 0.5, "fill": "orange",
        },
        "rowsFrame": {"layout": "auto"}, "filterValues": {"le": 1e-9}, "showValue": "never",
        "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False},
    }  # fmt: skip
    query = Query(expr, "{{le}}", "heatmap")
    return Panel(number, "heatmap", title, description, unit, [query], width, 8, "no data", options=options)


def table(
    number: int,
    title: str,
    description: str,
    unit: str,
    *exprs: str,
    transformations: Sequence[Json],
    overrides: Sequence[Json] = (),
    nothing: str = "no data",
    width: int = 24,
    **defaults: Any,
) -> Panel:
    """What each series is at the end of the time range; the transformations make rows and columns of it."""
    queries = [Query(expr, format="table", instant=True) for expr in exprs]
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": []}}
    field = {"custom": {"align": "auto", "inspect": False}, "thresholds": steps(NEUTRAL), **defaults}
    return Panel(
        number, "table", title, description, unit, queries, width, 8, nothing, field, options, overrides,
        transformations,
    )  # fmt: skip


def column(name: str, **properties: Any) -> Json:
    """What one column of a table has other than the rest: Grafana's field options, dots as `__`."""
    said = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": said}
