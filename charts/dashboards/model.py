"""Dashboards as Grafana reads them: schema version 39, which Grafana 11 and later know.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TAG = "feature-platform"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A PromQL expression; `legend` names its series. An instant one has one value per series, at the range's end."""

    expr: str
    legend: str = "__auto"
    format: str = "time_series"
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. The number is its id for good: links to a panel name it."""

    number: int
    kind: str
    title: str
    description: str
    """How it is read, and what is bad."""
    unit: str
    queries: Sequence[Query]
    width: int
    height: int
    nothing: str
    """What it means that there is no data."""
    defaults: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right; a folded row asks nothing until it is opened."""

    number: int
    title: str
    panels: Sequence[Panel]
    folded: bool = False


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; its name is that of its file, and the end of its uid."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    since: str = "now-6h"
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """What Grafana knows it by, and links name."""
        return f"{TAG}-{self.name}"

    def document(self) -> Json:
        """The whole JSON model."""
        constants = [_constant(name, value) for name, value in self.constants.items()]
        return {
            "uid": self.uid, "title": f"Feature platform / {self.title}", "description": self.description,
            "tags": [TAG], "schemaVersion": 39, "version": 1, "id": None, "editable": True, "graphTooltip": 1,
            "timezone": "utc", "time": {"from": self.since, "to": "now"}, "refresh": "1m", "timepicker": {},
            "annotations": {"list": []}, "templating": {"list": [*_VARIABLES, *constants]},
            "links": [_LINK], "panels": list(_placed(self.rows)),
        }  # fmt: skip


_LINK = {
    "type": "dashboards", "tags": [TAG], "title": "Feature platform", "asDropdown": False, "includeVars": True,
    "keepTime": False, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
}  # fmt: skip


def _variable(name: str, label: str, kind: str, query: str | Json, **more: Any) -> Json:
    return {"name": name, "label": label, "type": kind, "query": query, "hide": 0, "multi": False,
            "includeAll": False, **more}  # fmt: skip


def _labels(name: str, label: str, query: str, regex: str = "") -> Json:
    asked = {"query": query, "qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
    more = {"regex": regex, "datasource": DATASOURCE, "refresh": 2, "sort": 1}
    return _variable(name, label, "query", asked, **more)


def _constant(name: str, value: str) -> Json:
    return _variable(name, name, "constant", value, current=_chosen(value), hide=2, skipUrlSync=True)


def _chosen(value: str) -> Json:
    return {"text": value, "value": value, "selected": True}


_BUILDS = "feature_gateway_build_info"
_VARIABLES = (
    _variable("datasource", "Prometheus", "datasource", "prometheus", current=_chosen("default"), refresh=1),
    _labels("namespace", "Namespace", f"label_values({_BUILDS}, namespace)"),
    # The beginning of every name of the release, as the jobs of its gateways have it.
    _labels("release", "Release", f'label_values({_BUILDS}{{namespace="$namespace"}}, job)', "/(.*)-gateway-metrics/"),
)


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    top = 0
    for row in rows:
        inner, bottom = _flow(row.panels, top + 1)
        yield {
            "id": row.number, "type": "row", "title": row.title, "collapsed": row.folded,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}, "panels": inner if row.folded else [],
        }  # fmt: skip
        if not row.folded:
            yield from inner
        top = top + 1 if row.folded else bottom


def _flow(panels: Sequence[Panel], top: int) -> tuple[list[Json], int]:
    """The panels side by side, in lines from `top` down; and where the last line ends."""
    placed, left, bottom = [], 0, top
    for panel in panels:
        if left + panel.width > COLUMNS:
            left, top = 0, bottom
        placed.append(_panel(panel, left, top))
        left, bottom = left + panel.width, max(bottom, top + panel.height)
    return placed, bottom


def _panel(panel: Panel, left: int, top: int) -> Json:
    return {
        "id": panel.number, "type": panel.kind, "title": panel.title, "description": panel.description,
        "datasource": DATASOURCE, "pluginVersion": "11.0.0",
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "noValue": panel.nothing, **panel.defaults},
            "overrides": list(panel.overrides),
        },
        "options": panel.options,
        "targets": [_target(chr(ord("A") + number), query) for number, query in enumerate(panel.queries)],
        "transformations": list(panel.transformations),
    }  # fmt: skip


def _target(reference: str, query: Query) -> Json:
    return {"refId": reference, "datasource": DATASOURCE, "editorMode": "code", "expr": query.expr,
            "legendFormat": query.legend, "format": query.format, "instant": query.instant,
            "range": not query.instant}  # fmt: skip
