"""A node that runs gateways is taken out of service and put back, on a cluster of three, while clients ask.

Stores and feature server are kept to the other worker, where the ingress controller is: each is one pod here, and what
is missed while such a pod moves, other modules show.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e import answers, nodes
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster, namespace_for
from tests.e2e.namespace import Namespace, is_ready
from tests.e2e.release import Release
from tests.e2e.sample_platform import features_in_postgres, materialize, sample_values, wait_for_sample
from tests.e2e.traffic import Report, traffic

WORKERS = 2
GATEWAYS = 4
LEAST_PER_SECOND = 50
AFTERWARDS_SECONDS = 3.0
ROLLOUT_TIMEOUT = "3m"


@dataclass(frozen=True)
class Workers:
    """The two nodes for pods."""

    drained: str
    kept: str


@dataclass
class Maintenance:
    """What was seen while a node was drained, and while gateways came back to it."""

    reports: dict[str, Report] = field(default_factory=dict)
    fewest: dict[str, int] = field(default_factory=dict)
    """The least number of available gateways."""
    gateways: dict[str, list[str]] = field(default_factory=dict)
    """The node of each gateway, afterwards."""


@pytest.fixture(scope="module")
def three_nodes(new_cluster: NewCluster) -> Iterator[Cluster]:
    with new_cluster(WORKERS) as started:
        yield started


@pytest.fixture(scope="module")
def namespace(three_nodes: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with namespace_for(three_nodes, request) as started:
        yield started


@pytest.fixture(scope="module")
def workers(three_nodes: Cluster) -> Workers:
    first, second = nodes.workers(three_nodes)
    return Workers(second, first) if first in nodes.with_ingress(three_nodes) else Workers(first, second)


@pytest.fixture(scope="module")
def release(namespace: Namespace, workers: Workers) -> Release:
    release = Release(namespace)
    there = {"nodeSelector": {nodes.HOSTNAME: workers.kept}}
    values = {"postgres": there, "redis": there, "featureServer": there, "gateway": {"replicas": GATEWAYS}}
    release.install(release.ingress_values, sample_values(1), values)
    wait_for_sample(release)
    materialize(release)
    return release


@pytest.fixture(scope="module")
def spread(release: Release) -> list[str]:
    """The node of each gateway as installed."""
    return places(release)


@pytest.fixture(scope="module")
def maintenance(release: Release, workers: Workers, spread: list[str]) -> Maintenance:
    seen, cluster = Maintenance(), release.namespace.cluster
    with watched(release, seen, "drained"):
        nodes.drain(cluster, workers.drained)
        settle(release)
    with watched(release, seen, "put back"):
        nodes.uncordon(cluster, workers.drained)
        release.namespace.kubectl("rollout", "restart", f"deployment/{release.full}-gateway")
        settle(release)
    return seen


@contextmanager
def watched(release: Release, seen: Maintenance, phase: str) -> Iterator[None]:
    """Traffic, and a look at how many gateways are available, while the block runs and for a moment after it."""
    right = answers.for_traffic(features_in_postgres(release, "2024-01-31T00:00:00"))
    release.client()
    with (
        traffic(release.namespace.cluster.ingress_url, release.host, right) as recording,
        available_gateways(release) as numbers,
    ):
        yield
        time.sleep(AFTERWARDS_SECONDS)
    seen.reports[phase] = recording.report
    seen.fewest[phase] = min(numbers)
    seen.gateways[phase] = places(release)


@contextmanager
def available_gateways(release: Release) -> Iterator[list[int]]:
    """A list that holds, after the block, each number of available gateways that there was meanwhile."""
    each = '{.status.availableReplicas}{"\\n"}'
    command = ["kubectl", f"--namespace={release.namespace.name}", "get", f"deployment/{release.full}-gateway"]
    numbers: list[int] = []
    with subprocess.Popen(
        [*command, "--watch", f"--output=jsonpath={each}"],
        env=release.namespace.cluster.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            yield numbers
        finally:
            watching.terminate()
            said, _ = watching.communicate()
    numbers += [int(line or 0) for line in said.splitlines()]


def settle(release: Release) -> None:
    """Wait until every gateway that there is to be is available, and those before it are going."""
    release.namespace.kubectl("rollout", "status", f"deployment/{release.full}-gateway", f"--timeout={ROLLOUT_TIMEOUT}")


def places(release: Release) -> list[str]:
    """The node of each gateway that is ready and stays."""
    pods = release.namespace.of_component("Pod", "gateway")
    return [pod["spec"]["nodeName"] for pod in pods if is_ready(pod) and not is_going(pod)]


def is_going(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def test_gateways_are_spread_over_the_nodes(spread: list[str], workers: Workers) -> None:
    assert sorted(spread) == sorted([workers.drained, workers.kept] * (GATEWAYS // 2))


@pytest.mark.parametrize("phase", ["drained", "put back"])
def test_no_request_fails_or_is_answered_wrongly(maintenance: Maintenance, phase: str) -> None:
    report = maintenance.reports[phase]
    assert report.per_second >= LEAST_PER_SECOND, str(report)
    assert (report.failed, report.wrong) == ([], []), str(report)


def test_gateways_leave_the_node_one_by_one(maintenance: Maintenance) -> None:
    assert maintenance.fewest["drained"] == GATEWAYS - 1


def test_every_gateway_runs_elsewhere_while_the_node_is_out_of_service(
    maintenance: Maintenance, workers: Workers
) -> None:
    assert maintenance.gateways["drained"] == [workers.kept] * GATEWAYS


def test_gateways_come_to_the_node_again_once_it_is_back(maintenance: Maintenance, workers: Workers) -> None:
    assert set(maintenance.gateways["put back"]) == {workers.drained, workers.kept}
