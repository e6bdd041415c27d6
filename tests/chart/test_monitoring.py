"""How a Prometheus finds the metrics, and what reading them costs the stores."""

import pytest

from tests.chart.branches import branch
from tests.chart.manifests import Manifest, component_of, pods, template_of
from tests.chart.rendering import render

ALWAYS = {"gateway": 9090, "feature-server": 9090}
WITH_EXPORTERS = {**ALWAYS, "postgres": 9187, "redis": 9121}
EXPORTERS = {"postgres": {"exporter": {"enabled": True}}, "redis": {"exporter": {"enabled": True}}}
NAME = "streamflow-feature-platform"


def scraped(objects: list[Manifest]) -> dict[str, int]:
    """The annotated pods: component to port."""
    found = {}
    for manifest in objects:
        annotations = (template_of(manifest) or manifest)["metadata"].get("annotations", {})
        if annotations.get("prometheus.io/scrape") == "true":
            assert annotations["prometheus.io/path"] == "/metrics"
            found[component_of(manifest)] = int(annotations["prometheus.io/port"])
    return found


def services(objects: list[Manifest]) -> dict[str, Manifest]:
    return {one["metadata"]["name"].removeprefix(f"{NAME}-"): one for one in objects if one["kind"] == "Service"}


@pytest.mark.parametrize(("name", "expected"), [("defaults", ALWAYS), ("prometheus-bundled", WITH_EXPORTERS)])
def test_pods_say_where_their_metrics_are(name: str, expected: dict[str, int]) -> None:
    objects = branch(name).render().objects
    assert scraped(objects) == expected
    listening = {component_of(pod.owner): pod.ports["metrics"] for pod in pods(objects) if "metrics" in pod.ports}
    assert listening == expected


def test_nothing_is_read_twice_where_a_service_monitor_is() -> None:
    assert scraped(branch("prometheus-operator").render().objects) == {}


def test_values_take_a_component_out() -> None:
    values = {"featureServer": {"podAnnotations": {"prometheus.io/scrape": "false"}}}
    assert scraped(render(values=values).objects) == {"gateway": 9090}


def test_the_service_monitor_selects_the_services_of_metrics_alone() -> None:
    rendering = branch("prometheus-operator").render()
    (monitor,) = rendering.of_kind("ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    chosen = [name for name, one in services(rendering.objects).items() if wanted <= one["metadata"]["labels"].items()]
    assert chosen == [f"{component}-metrics" for component in WITH_EXPORTERS]
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_a_store_stays_in_service_when_its_exporter_fails(store: str) -> None:
    assert services(render(values=EXPORTERS).objects)[store]["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in services(render().objects)[store]["spec"]
    (pod,) = (pod for pod in pods(render(values=EXPORTERS).objects) if component_of(pod.owner) == store)
    assert "readinessProbe" not in next(one for one in pod.containers if one["name"] == "exporter")


def test_an_exporter_sees_neither_data_nor_anothers_credentials() -> None:
    mounts = {
        component_of(pod.owner): [(mount["name"], mount.get("subPath")) for mount in one["volumeMounts"]]
        for pod in pods(render(values=EXPORTERS).objects)
        for one in pod.containers
        if one["name"] == "exporter"
    }
    assert mounts == {"postgres": [("exporter", None)], "redis": [("run", "exporter")]}


def test_the_bundled_prometheus_reaches_metrics_and_nothing_else() -> None:
    policies = {one["metadata"]["name"]: one for one in branch("prometheus-bundled").render().of_kind("NetworkPolicy")}
    egress = policies[f"{NAME}-prometheus"]["spec"]["egress"]
    reached = {peer_components(rule["to"][0])[0]: rule["ports"][0]["port"] for rule in egress}
    assert reached == WITH_EXPORTERS
    (rule,) = policies[f"{NAME}-metrics"]["spec"]["ingress"]
    operators, own = rule["from"]
    assert operators["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "operators"}
    assert peer_components(own) == ["prometheus"]


def peer_components(peer: Manifest) -> list[str]:
    found: list[str] = peer["podSelector"]["matchExpressions"][0]["values"]
    return found
