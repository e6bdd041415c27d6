"""Every value does something, in the right place, and an upgrade that changes it goes through."""

import pytest

from tests.chart.each_value import LEAVES, Effect, effect
from tests.chart.kubernetes_schemas import VERSIONS, schema_faults
from tests.chart.manifests import component_of
from tests.chart.update_checks import rerun_faults, update_faults

# The keys that every component has, by the component's label.
COMPONENTS = {
    "gateway": "gateway", "featureServer": "feature-server", "postgres": "postgres", "redis": "redis",
    "apply": "apply", "materialization": "materialization", "trainingSet": "training-set", "ingest": "ingest",
    "sampleData": "sample-data", "helmTest": "test", "prometheus": "prometheus", "ray.head": "ray-head",
    "ray.worker": "ray-worker",
}  # fmt: skip
POD_KEYS = [path.removeprefix("gateway.") for path in LEAVES if path.startswith("gateway.") and
            path.replace("gateway", "apply", 1) in LEAVES]  # fmt: skip
# Names and volumes last as long as what they hold.
FOR_GOOD = {
    "postgres.persistence.enabled", "postgres.persistence.size", "postgres.persistence.storageClass",
    "redis.persistence.enabled", "redis.persistence.size", "redis.persistence.storageClass",
    "trainingSet.persistence.storageClass", "trainingSet.persistence.accessMode",
}  # fmt: skip


@pytest.fixture(params=LEAVES, scope="module")
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(path: str) -> Effect:
    found = effect(path)
    assert isinstance(found, Effect), found
    return found


def test_a_value_is_used(path: str) -> None:
    found = effect(path)
    assert isinstance(found, Effect), found


def test_a_changed_value_renders_what_kubernetes_takes(seen: Effect) -> None:
    assert schema_faults(seen.touched, VERSIONS[-1]) == []


def test_an_upgrade_can_change_a_value(path: str, seen: Effect) -> None:
    faults = update_faults(seen.before, seen.after)
    assert (faults == []) is (path not in FOR_GOOD), faults


def test_a_job_runs_again_only_for_something_new(seen: Effect) -> None:
    assert rerun_faults(seen.before, seen.after) == []


@pytest.mark.parametrize("key", POD_KEYS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pods_key_changes_its_own_component_alone(component: str, key: str) -> None:
    found = effect(f"{component}.{key}")
    assert isinstance(found, Effect), found
    # The database and its owner are made by Postgres' own client.
    also = {"apply"} if component == "postgres" and key.startswith("image.") else set()
    assert {component_of(manifest) for manifest in found.touched} == {COMPONENTS[component], *also}
