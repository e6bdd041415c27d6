"""Every container runs the image that the values say."""

import pytest
import yaml

import api
from tests.chart.branches import branch
from tests.chart.manifests import Manifest, component_of, pods
from tests.chart.rendering import CHART, render
from tests.chart.value_changes import nested

VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
OURS, POSTGRES, REDIS = f"feature-platform:{VERSION}", "postgres:17", "redis:8.0"


def images(objects: list[Manifest], component: str) -> set[str]:
    """The images of all containers of a component."""
    return {one["image"] for pod in pods(objects) if component_of(pod.owner) == component for one in pod.containers}


def test_the_defaults_are_ours_and_two_well_known_ones() -> None:
    objects = branch("defaults").render().objects
    assert images(objects, "postgres") == {POSTGRES}
    assert images(objects, "redis") == {REDIS}
    # Postgres' own client makes the database and its owner before `apply` itself starts.
    assert images(objects, "apply") == {OURS, POSTGRES}
    for component in ("gateway", "feature-server", "materialization", "training-set", "test"):
        assert images(objects, component) == {OURS}


def test_one_value_moves_everything_but_the_stores_to_another_image() -> None:
    values = {"image": {"repository": "registry.example/ours", "tag": "9"}}
    used = {one["image"] for pod in pods(render(values=values).objects) for one in pod.containers}
    assert used == {"registry.example/ours:9", POSTGRES, REDIS}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"tag": "9"}, "feature-platform:9"),
        ({"repository": "other"}, f"other:{VERSION}"),
        ({"repository": "other", "tag": "9"}, "other:9"),
    ],
)
def test_a_component_may_have_an_image_of_its_own(image: dict[str, str], expected: str) -> None:
    objects = render(values=nested("featureServer.image", image)).objects
    assert images(objects, "feature-server") == {expected}
    assert images(objects, "gateway") == {OURS}


def test_the_version_of_the_chart_is_the_platforms() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (api.VERSION, api.VERSION)
