"""Each alert has a runbook of the same form, and its commands are about objects that the chart makes."""

import re
from pathlib import Path

import pytest

from charts.document_values import chart_values
from tests.chart.manifests import COMPONENT, pods
from tests.chart.rendering import CHART, render
from tests.rules.rendered import NAME, NAMESPACE, ON, RELEASE, names

FOLDER = CHART / "runbooks"
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "It has ended when"]
each_runbook = pytest.mark.parametrize("runbook", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
CHART_MADE = render(
    release=RELEASE, namespace=NAMESPACE, values={**ON, "gateway": {"autoscaling": {"enabled": True}}}
).objects
OBJECTS = {(made["kind"].lower(), made["metadata"]["name"]) for made in CHART_MADE}
PODS = {("pod", f"{made['metadata']['name']}-0") for made in CHART_MADE if made["kind"] == "StatefulSet"}
CLAIMS = {("pvc", f"data-{name}") for _, name in PODS} | {("pvc", f"{NAME}-training-sets")}
CONTAINERS = {one["name"] for pod in pods(CHART_MADE) for one in pod.containers}
VALUES = {value.path for value in chart_values()}
COMPONENTS = {pod.labels[COMPONENT] for pod in pods(CHART_MADE)} | {"ingest"}


def blocks(runbook: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", runbook.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(runbook: Path) -> list[str]:
    """Each command of the blocks, the lines that continue it included."""
    return [line for block in blocks(runbook) for line in block.replace("\\\n", " ").splitlines()]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == names()


@each_runbook
def test_a_runbook_has_its_headings(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith(f"# {runbook.stem}\n")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])


@each_runbook
def test_a_runbook_leads_to_others_that_are_there(runbook: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", runbook.read_text()):
        assert (FOLDER / link).is_file(), link


@each_runbook
def test_the_commands_name_namespace_and_release(runbook: Path) -> None:
    for command in commands(runbook):
        for tool in re.findall(r"\bkubectl (?!patch --local|create -f -)(.*)", command):
            assert tool.startswith((f"-n {NAMESPACE} ", "get pods --all-namespaces ")), command
        for verb, release in re.findall(r"\bhelm (\w+) (\S+)", command):
            assert release == RELEASE, f"{verb}: {command}"
            assert f"--namespace {NAMESPACE}" in command, command


@each_runbook
def test_the_commands_name_objects_that_the_chart_makes(runbook: Path) -> None:
    known = OBJECTS | PODS | CLAIMS
    for command in commands(runbook):
        for kind, name in re.findall(rf"(\w+)[ /]((?:data-)?{NAME}[\w-]*)", command):
            found = {of for of, other in known if other == name}
            kind = {"exec": "pod", "logs": "pod", "svc": "service"}.get(kind, kind)
            assert kind in found, f"{kind} {name}: {command}"


@each_runbook
def test_the_commands_name_components_and_containers_that_there_are(runbook: Path) -> None:
    for command in commands(runbook):
        for named in re.findall(rf"{re.escape(COMPONENT)}(?:=([\w-]+)| in \(([^)]+)\))", command):
            assert set(",".join(filter(None, named)).split(",")) <= COMPONENTS, command
        assert set(re.findall(r" -c (\w[\w-]*)(?= -|$)", command)) <= CONTAINERS, command


@each_runbook
def test_the_values_that_it_sets_or_names_are_the_charts(runbook: Path) -> None:
    text = runbook.read_text()
    named = re.findall(r"--set ([\w.]+)=", text) + re.findall(
        r"`((?:gateway|redis|postgres|featureServer|alerts|slo|monitoring|materialization|ingest)\.[\w.]+)`", text
    )
    assert [path for path in named if not is_value(path)] == []


def is_value(path: str) -> bool:
    """Whether a dotted path is a value of the chart, or lies in one that is handed on as it is."""
    return any(path == value or path.startswith(f"{value}.") for value in VALUES)
