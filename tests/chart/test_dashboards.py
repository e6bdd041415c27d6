"""The dashboards are what their source says, whole for Grafana, and reach it as ConfigMaps."""

import json
import re
from typing import Any

import pytest

from charts.dashboards import files
from tests.chart.branches import branch
from tests.chart.rendering import Values
from tests.dashboards import FOLDER, GRAFANAS_OWN, Document, documents, panels_of, placed

# Grafana brings these itself; anything else would be a plug-in to install.
CORE = {"timeseries", "stat", "bargauge", "heatmap", "table", "state-timeline"}
COLUMNS = 24
LONGEST_UID = 40
# A ConfigMap may hold 1 MiB, and Helm keeps all objects of a release in one Secret of that size, compressed.
MOST_BYTES = 100_000
VARIABLE = re.compile(r"\$\{?(\w+)")

each_dashboard = pytest.mark.parametrize("document", documents().values(), ids=documents())
each_panel = pytest.mark.parametrize(
    "panel",
    [
        pytest.param(panel, id=f"{name}: {panel['title']}")
        for name, document in documents().items()
        for panel in panels_of(document)
    ],
)


def test_the_files_are_what_the_source_says() -> None:
    assert {file.name: file.read_text() for file in FOLDER.iterdir()} == files(), "run `make chart-docs`"


def test_no_two_dashboards_have_one_uid() -> None:
    uids = [document["uid"] for document in documents().values()]
    assert len(set(uids)) == len(uids) == 5
    assert all(len(uid) <= LONGEST_UID for uid in uids)


@each_dashboard
def test_links_to_a_panel_stay_right(document: Document) -> None:
    numbers = [panel["id"] for panel in placed(document)]
    assert len(set(numbers)) == len(numbers)


@each_dashboard
def test_no_panel_lies_on_another(document: Document) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in placed(document):
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)
    assert all(0 <= x < COLUMNS for x, _ in taken)


@each_dashboard
def test_every_variable_is_there(document: Document) -> None:
    variables = {one["name"] for one in document["templating"]["list"]}
    assert variables >= {"datasource", "namespace", "release"}
    assert set(VARIABLE.findall(json.dumps(document))) <= variables | GRAFANAS_OWN.keys()


@each_dashboard
def test_a_dashboard_leads_to_the_others_with_what_was_chosen(document: Document) -> None:
    (link,) = document["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(document["tags"])
    assert link["includeVars"]


@each_panel
def test_a_panel_says_what_it_shows_and_how_to_read_it(panel: Document) -> None:
    assert panel["type"] in CORE
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"]


@each_panel
def test_a_panel_asks_the_chosen_prometheus(panel: Document) -> None:
    asked = [panel, *panel["targets"]]
    assert all(one["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for one in asked)
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)


def test_every_dashboard_reaches_grafana_as_it_is() -> None:
    found = {key: text for one in config_maps() for key, text in one["data"].items()}
    assert {key: json.loads(text) for key, text in found.items()} == {
        f"feature-platform-{name}": json.loads(text) for name, text in files().items()
    }
    assert all(len(text.encode()) < MOST_BYTES for text in found.values())


def test_a_dashboard_measures_by_the_objectives_of_its_release() -> None:
    slo = {"availability": {"objective": 99.5}, "latency": {"typical": {"objective": 95, "seconds": 0.005}}}
    (text,) = [
        text
        for one in config_maps({"slo": slo})
        for key, text in one["data"].items()
        if key == "feature-platform-service-level.json"
    ]
    constants = {
        one["name"]: (one["query"], one["current"]["value"])
        for one in json.loads(text)["templating"]["list"]
        if one["type"] == "constant"
    }
    assert constants == {
        "availability": ("99.5", "99.5"),
        "typical": ("95", "95"),
        "typical_seconds": ("0.005", "0.005"),
        "tail": ("99.9", "99.9"),
        "tail_seconds": ("0.05", "0.05"),
    }


def test_a_sidecar_finds_them_by_label_and_is_told_the_folder() -> None:
    assert len(config_maps()) == 5
    for one in config_maps():
        assert one["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "churn"}.items()
        assert one["metadata"]["annotations"] == {"grafana_folder": "Feature platform"}


def test_there_are_none_unless_asked_for() -> None:
    objects = branch("defaults").render().of_kind("ConfigMap")
    assert not [one for one in objects if "-dashboard-" in one["metadata"]["name"]]


def config_maps(values: Values | None = None) -> list[Any]:
    objects = branch("dashboards").render(values).of_kind("ConfigMap")
    return [one for one in objects if "-dashboard-" in one["metadata"]["name"]]


def cells(panel: Document) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
