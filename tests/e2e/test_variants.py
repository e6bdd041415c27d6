"""Other parts than the chart's first choice: a Gateway API route, Valkey in Redis' place, and an autoscaler.

E2E_GATEWAY=NAMESPACE/NAME is the cluster's Gateway behind the NodePort of the ingress; ingress/traefik by default.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.e2e import answers
from tests.e2e.namespace import Namespace, component_selector, is_ready
from tests.e2e.objects import Object
from tests.e2e.release import MODEST, Release, Values
from tests.e2e.sample_platform import GOLDEN, features_in_postgres, materialize, sample_values, wait_for_sample
from tests.e2e.traffic import traffic

GATEWAY_NAMESPACE, GATEWAY = os.environ.get("E2E_GATEWAY", "ingress/traefik").split("/")
AS_OF = "2024-01-31T00:00:00"
VALKEY: Values = {"redis": {"image": {"repository": "valkey/valkey", "tag": "8.1"}}}
FEWEST, MOST = 2, 4
# Gateways that answer nothing but probes use a tenth of what they ask for; with the load below, more than half.
TARGET = 30
AUTOSCALED: Values = {
    "gateway": {
        "autoscaling": {
            "enabled": True, "minReplicas": FEWEST, "maxReplicas": MOST, "targetCPUUtilizationPercentage": TARGET
        },
        "resources": {"requests": {"cpu": "50m"}},
    }
}  # fmt: skip
PER_SECOND = 150
# The metrics API speaks of a pod from its first minute on, and the autoscaler asks four times a minute.
MEASURED_SECONDS = 120.0
SCALED_SECONDS = 180.0

Features = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    """One month served."""
    release = Release(namespace)
    release.install(*values_of(release))
    wait_for_sample(release)
    materialize(release)
    return release


@pytest.fixture(scope="module")
def right(release: Release) -> Features:
    return features_in_postgres(release, AS_OF)


def values_of(release: Release) -> tuple[Values, ...]:
    gateway = {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE}
    route: Values = {"httpRoute": {"enabled": True, "parentRefs": [gateway], "hostnames": [release.host]}}
    return (MODEST, sample_values(1), route, VALKEY, AUTOSCALED)


def test_the_clusters_gateway_takes_the_route_and_there_is_no_ingress(release: Release) -> None:
    def accepted(seen: Mapping[str, Object]) -> bool:
        parents = [parent for route in seen.values() for parent in route.get("status", {}).get("parents", [])]
        conditions = [condition for parent in parents for condition in parent["conditions"]]
        return {"Accepted", "ResolvedRefs"} <= {c["type"] for c in conditions if c["status"] == "True"}

    release.namespace.objects.until("HTTPRoute", accepted, "the Gateway to take the route", seconds=30)
    assert release.namespace.objects.all("Ingress") == []


def test_valkey_runs_in_redis_place(release: Release) -> None:
    program = release.namespace.exec(f"{release.full}-redis-0", "cat", "/proc/1/cmdline")
    assert b"valkey-server" in program


def test_every_customer_is_served_through_the_route_as_postgres_has_them(release: Release, right: Features) -> None:
    assert len(right[GOLDEN]) == 14
    assert answers.served(release.client(), sorted(right)) == right


def test_the_autoscaler_knows_how_busy_gateways_are(release: Release) -> None:
    shown = shown_autoscaler(release)
    assert re.search(rf"Deployment/{release.full}-gateway +cpu: \d+%/{TARGET}% +{FEWEST} +{MOST} +{FEWEST} ", shown), (
        shown
    )


def test_under_load_more_gateways_come_and_stay_over_an_upgrade(release: Release, right: Features) -> None:
    assert len(gateways(release)) == FEWEST
    url, requests = release.namespace.cluster.ingress_url, answers.for_traffic(right)
    with traffic(url, release.host, requests, PER_SECOND) as recording:
        release.namespace.objects.until(
            "Pod",
            lambda seen: sum(map(is_ready, seen.values())) > FEWEST,
            f"more than {FEWEST} ready gateways",
            seconds=SCALED_SECONDS,
            selector=component_selector("gateway"),
        )
        busy = shown_autoscaler(release)
    assert not recording.report.wrong, str(recording.report)
    more = gateways(release)
    release.upgrade(*values_of(release))
    assert gateways(release) >= more, busy


def shown_autoscaler(release: Release) -> str:
    """What kubectl shows of the autoscaler, once it has a number."""

    def measured(seen: Mapping[str, Object]) -> bool:
        metrics = [metric for one in seen.values() for metric in one.get("status", {}).get("currentMetrics") or []]
        return any("averageUtilization" in metric.get("resource", {}).get("current", {}) for metric in metrics)

    objects = release.namespace.objects
    objects.until("HorizontalPodAutoscaler", measured, "a number from the metrics API", seconds=MEASURED_SECONDS)
    return release.namespace.kubectl("get", "horizontalpodautoscaler", "--no-headers")


def gateways(release: Release) -> set[str]:
    """The names of the gateways that stay."""
    pods = release.namespace.of_component("Pod", "gateway")
    return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}
