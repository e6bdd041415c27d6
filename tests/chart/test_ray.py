"""Which Ray cluster the materialization works on, and what its nodes know."""

from typing import Any

import pytest

from tests.chart.branches import branch
from tests.chart.manifests import Manifest, component_of, pods

OF_RAY = {"RAY_USAGE_STATS_ENABLED", "GRPC_ENABLE_FORK_SUPPORT"}


def container(objects: list[Manifest], component: str) -> Any:
    (pod,) = [pod for pod in pods(objects) if component_of(pod.owner) == component]
    return pod.spec["containers"][0]


def environment(objects: list[Manifest], component: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(objects, component)["env"]}


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("ray", "ray://streamflow-feature-platform-ray-head:10001"),
        ("kuberay", "ray://feature-platform-ray-head-svc:10001"),
        ("defaults", None),
    ],
)
def test_the_materialization_works_where_the_values_say(name: str, address: str | None) -> None:
    objects = branch(name).render().objects
    assert environment(objects, "materialization").get("RAY_ADDRESS") == address
    assert ("--engine=ray" in container(objects, "materialization")["command"]) is (address is not None)


def test_workers_know_the_stores_as_the_materialization_does_and_the_head_does_not() -> None:
    objects = (
        branch("ray").render({"redis": {"enabled": False}, "externalRedis": {"connectionString": "redis:6379"}}).objects
    )
    own = {"FEATURE_PLATFORM_TERMINATION_LOG", "RAY_ADDRESS"}
    job, worker = environment(objects, "materialization"), environment(objects, "ray-worker")
    assert {key: worker[key] for key in worker.keys() - OF_RAY} == {key: job[key] for key in job.keys() - own}
    assert environment(objects, "ray-head").keys() - OF_RAY == {"FEATURE_PLATFORM_PROJECT"}
    assert [mount["name"] for mount in container(objects, "ray-head")["volumeMounts"]] == ["shared-memory", "tmp"]


def test_a_worker_takes_as_many_tasks_as_the_values_say() -> None:
    assert "--num-cpus=2" in container(branch("ray").render().objects, "ray-worker")["command"]
