"""Who decides how many gateways there are."""

from tests.chart.branches import branch
from tests.chart.manifests import Manifest


def gateway(objects: list[Manifest]) -> Manifest:
    return next(one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-gateway"))


def test_the_values_do() -> None:
    assert gateway(branch("defaults").render({"gateway": {"replicas": 4}}).objects)["spec"]["replicas"] == 4


def test_with_an_autoscaler_nothing_else_does() -> None:
    objects = branch("autoscaling").render({"gateway": {"replicas": 4}}).objects
    assert "replicas" not in gateway(objects)["spec"]
    assert [one for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
