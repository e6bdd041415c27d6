"""A newer chart goes through as an upgrade, and restarts or repeats nothing that stayed the same."""

import shutil
from pathlib import Path

import pytest

from tests.chart.branches import Branch, branch, branches
from tests.chart.manifests import component_of, lasting_name, pods
from tests.chart.rendering import CHART
from tests.chart.update_checks import rerun_faults, update_faults

each_branch = pytest.mark.parametrize("branch", branches(), ids=lambda branch: branch.name)


def another_chart(folder: Path, version: str, image: str) -> Path:
    """The chart with other versions of itself and of its image."""
    chart = Path(shutil.copytree(CHART, folder / "feature-platform"))
    said = (chart / "Chart.yaml").read_text().splitlines()
    kept = [line for line in said if not line.startswith(("version:", "appVersion:"))]
    (chart / "Chart.yaml").write_text("\n".join([*kept, f"version: {version}", f"appVersion: {image}", ""]))
    return chart


def image_version() -> str:
    """The appVersion of the chart as it is."""
    (line,) = (line for line in (CHART / "Chart.yaml").read_text().splitlines() if line.startswith("appVersion:"))
    return line.partition(":")[2].strip()


@each_branch
def test_a_new_chart_with_a_new_image_is_an_upgrade(branch: Branch, tmp_path: Path) -> None:
    before, after = (branch.render(chart=chart).objects for chart in (CHART, another_chart(tmp_path, "9.9.9", "9.9.9")))
    assert update_faults(before, after) == []
    assert rerun_faults(before, after) == []
    assert {lasting_name(one) for one in before} == {lasting_name(one) for one in after}


@each_branch
def test_a_new_chart_with_the_same_image_restarts_nothing(branch: Branch, tmp_path: Path) -> None:
    newer = branch.render(chart=another_chart(tmp_path, "9.9.9", image_version()))
    assert [(pod.name, pod.labels, pod.spec) for pod in pods(newer.objects)] == [
        (pod.name, pod.labels, pod.spec) for pod in pods(branch.render().objects)
    ]


def test_a_new_image_runs_apply_again_and_leaves_the_stores_alone(tmp_path: Path) -> None:
    defaults = branch("defaults")
    newer = defaults.render(chart=another_chart(tmp_path, "9.9.9", "9.9.9"))
    before, after = ({component_of(pod.owner): pod for pod in pods(one.objects)} for one in (defaults.render(), newer))
    assert before["apply"].name != after["apply"].name
    for store in ("postgres", "redis"):
        assert before[store].spec == after[store].spec
