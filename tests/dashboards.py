"""What the dashboards ask, as Prometheus gets it: every query with Grafana's variables filled in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from string import Template
from typing import Any

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "charts" / "feature-platform" / "dashboards"
# What Grafana fills in by itself, for a time range of an hour.
GRAFANAS_OWN = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}
# Panels of which a query may find nothing in a platform that is well, and why.
QUIET = {
    "For how long has a run been at work?": "only while one is",
    "Which requests fail, and how?": "none does",
    "How full are the volumes?": "only where Prometheus reads the kubelets",
    "How do the volumes fill?": "only where Prometheus reads the kubelets",
}

Document = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One query of one panel."""

    dashboard: str
    title: str
    expr: str


def documents() -> dict[str, Document]:
    """Every dashboard that the chart ships, by the name of its file without ending."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def placed(document: Document) -> list[Document]:
    """Every panel of a dashboard, the rows' headings and the panels of folded rows too."""
    return [panel for outer in document["panels"] for panel in (outer, *outer.get("panels", []))]


def panels_of(document: Document) -> list[Document]:
    """The panels of a dashboard without the rows' headings."""
    return [panel for panel in placed(document) if panel["type"] != "row"]


def panels(namespace: str, name: str) -> list[Query]:
    """Every query of every panel, for the release in this namespace whose objects' names begin with `name`."""
    chosen = {**GRAFANAS_OWN, "namespace": namespace, "release": name}
    return [query for dashboard, document in documents().items() for query in _queries(dashboard, document, chosen)]


def _queries(dashboard: str, document: Document, chosen: dict[str, str]) -> Iterator[Query]:
    constants = {one["name"]: one["query"] for one in document["templating"]["list"] if one["type"] == "constant"}
    for panel in panels_of(document):
        title = Template(panel["title"]).substitute(constants)
        for target in panel["targets"]:
            yield Query(dashboard, title, Template(target["expr"]).substitute(constants | chosen))
