"""A release goes to another image with one feature more, and back, and is changed by hand: it serves all the while."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.cluster import REPOSITORY, Cluster
from tests.e2e.commands import CommandError, WaitError
from tests.e2e.held import Held
from tests.e2e.images import changed_image
from tests.e2e.ingress_controller import reserve_cpu
from tests.e2e.namespace import Namespace, component_selector
from tests.e2e.objects import Object
from tests.e2e.release import MODEST, Release, Values
from tests.e2e.sample_platform import (
    GOLDEN,
    STRANGER,
    features_in_postgres,
    install_with_sample,
    materialize,
    sample_values,
)
from tests.e2e.traffic import RightAnswers
from tests.e2e.upgrading import Watch, Watched, watching

MONTHS = 2
NEWEST = "2024-02-29T00:00:00"
USERS = 60
ON_DEMAND_EACH = 6
"""One user in so many is also asked for on-demand features, which cost more than all the others."""
FEATURES_FILE = "feature_repo/features.py"
LAST_FIELD = '        Field(name="net_service", '
NEW_FEATURE = "contract_type"
NEW_FIELD = f'        Field(name="{NEW_FEATURE}", dtype=String, description="Length of the contract"),\n'
SCHEDULE, CHANGED_SCHEDULE = "0 6 1-10 * *", "0 7 1-10 * *"
AT_EASE: Values = {
    component: {"resources": {"requests": {"cpu": "100m"}}} for component in ("gateway", "featureServer", "redis")
}
"""What answers comes before what only starts, on a node whose every CPU is busy with starting."""
CHANGED: Values = {"materialization": {"schedule": CHANGED_SCHEDULE}, "gateway": {"podAnnotations": {"changed": "yes"}}}
PER_SECOND = 50
PLAN_SECONDS = 15.0
CLIENTS = ("ingress", "service")


@dataclass(frozen=True)
class Platform:
    release: Release
    image: str
    """The image with one feature more, which waits in the nodes."""
    features: Mapping[str, Mapping[str, Any]]
    """Customer -> what Postgres says."""
    right: RightAnswers
    apply: str
    """The first Job that applied."""

    @property
    def first_values(self) -> tuple[Values, ...]:
        return values(self.release, self.release.namespace.cluster.image)


@pytest.fixture(scope="module")
def platform(namespace: Namespace) -> Platform:
    """Two months served, and beside the installation the other image is built."""
    reserve_cpu(namespace.cluster)
    release = Release(namespace)
    with ThreadPoolExecutor(1) as pool:
        image = pool.submit(image_with_one_feature_more, namespace.cluster)
        install_with_sample(release, MONTHS, *values(release, namespace.cluster.image), sample_values(MONTHS))
        release.upgrade(*values(release, namespace.cluster.image))  # without the Job that invents customers
        features = features_in_postgres(release, NEWEST)
        (apply,) = names(release, "Job", "apply")
        return Platform(release, image.result(), features, right_answers(release, features), apply)


@pytest.fixture(scope="module")
def watch(platform: Platform) -> Iterator[Watch]:
    with watching(platform.release, platform.right) as started:
        yield started


@pytest.fixture(scope="module")
def upgraded(platform: Platform, watch: Watch) -> Watched:
    """Another image and other values: everything is replaced but the stores."""
    return watch.during(lambda: platform.release.upgrade(*values(platform.release, platform.image), CHANGED))


@pytest.fixture(scope="module")
def told_by_apply(platform: Platform, upgraded: Watched) -> str:
    """The last word of the Job that applied the new definitions."""
    (apply,) = names(platform.release, "Job", "apply")
    return platform.release.namespace.job_succeeds(apply)


@pytest.fixture(scope="module")
def answer_before_filled(platform: Platform, told_by_apply: str) -> Mapping[str, Any]:
    return golden(platform.release)


@pytest.fixture(scope="module")
def filled(platform: Platform, watch: Watch, answer_before_filled: Mapping[str, Any]) -> Watched:
    """The new feature's values are in the online store."""

    def fill() -> None:
        materialize(platform.release, "fill")
        wait_for_features(platform.release, len(answer_before_filled) + 1)

    return watch.during(fill)


@pytest.fixture(scope="module")
def rolled_back(platform: Platform, watch: Watch, filled: Watched) -> Watched:
    return watch.during(platform.release.rollback)


# --- another image and other values


@pytest.mark.parametrize("client", CLIENTS)
def test_no_request_fails_or_is_wrong_during_an_upgrade(upgraded: Watched, client: str) -> None:
    assert_served(upgraded, client)


def test_an_upgrade_replaces_the_gateways_and_the_feature_server(platform: Platform, upgraded: Watched) -> None:
    assert images(platform.release, "gateway") == [platform.image] * 2
    assert images(platform.release, "feature-server") == [platform.image]


def test_an_upgrade_changes_what_the_values_say(platform: Platform, upgraded: Watched) -> None:
    assert cronjob(platform.release)["spec"]["schedule"] == CHANGED_SCHEDULE
    gateways = pods_of(platform.release, "gateway")
    assert [pod["metadata"]["annotations"]["changed"] for pod in gateways] == ["yes"] * len(gateways)


def test_apply_runs_again_under_a_new_name_and_the_old_job_is_gone(platform: Platform, upgraded: Watched) -> None:
    (apply,) = names(platform.release, "Job", "apply")
    assert apply != platform.apply


def test_an_upgrade_leaves_stores_passwords_and_data_alone(upgraded: Watched) -> None:
    assert_held(upgraded.before, upgraded.after)


# --- another definition


def test_a_plan_with_a_new_feature_waits_until_it_is_filled(
    told_by_apply: str, answer_before_filled: Mapping[str, Any], platform: Platform
) -> None:
    assert told_by_apply.endswith("waiting for a materialization that fills its new features")
    assert answer_before_filled == platform.features[GOLDEN]


@pytest.mark.parametrize("client", CLIENTS)
def test_no_request_fails_or_is_wrong_while_a_new_plan_takes_over(filled: Watched, client: str) -> None:
    assert_served(filled, client)


def test_a_new_feature_is_served_once_it_is_filled(platform: Platform, filled: Watched) -> None:
    (row,) = platform.release.sql(
        f"SELECT {NEW_FEATURE} FROM offline.subscriptions_profile_snapshots "
        f"WHERE user_id = '{GOLDEN}' AND as_of = '{NEWEST}Z' ORDER BY created_at DESC LIMIT 1"
    )
    assert row[NEW_FEATURE]
    assert golden(platform.release) == {**platform.features[GOLDEN], **row}


# --- back again


@pytest.mark.parametrize("client", CLIENTS)
def test_no_request_fails_or_is_wrong_during_a_rollback(rolled_back: Watched, client: str) -> None:
    assert_served(rolled_back, client)


def test_a_rollback_brings_back_image_values_and_the_job_that_applies(platform: Platform, rolled_back: Watched) -> None:
    assert images(platform.release, "gateway") == [platform.release.namespace.cluster.image] * 2
    assert images(platform.release, "feature-server") == [platform.release.namespace.cluster.image]
    assert cronjob(platform.release)["spec"]["schedule"] == SCHEDULE
    assert names(platform.release, "Job", "apply") == [platform.apply]


def test_a_rollback_brings_back_the_old_plan(platform: Platform, rolled_back: Watched) -> None:
    platform.release.namespace.job_succeeds(platform.apply)
    wait_for_features(platform.release, len(platform.features[GOLDEN]))
    assert golden(platform.release) == platform.features[GOLDEN]


def test_a_rollback_leaves_stores_passwords_and_data_alone(rolled_back: Watched) -> None:
    assert_held(rolled_back.before, rolled_back.after)


# --- changed by hand


@dataclass(frozen=True)
class Refusal:
    """What helm said to an upgrade after changes by hand, and what was held before."""

    said: str
    before: Held


BY_HAND = {
    ".spec.replicas": ("Deployment", "gateway", "replicas", 2, 3),
    ".spec.suspend": ("CronJob", "materialization", "suspend", False, True),
    ".spec.maxUnavailable": ("PodDisruptionBudget", "gateway", "maxUnavailable", 1, 0),
}
"""The field as helm names it -> kind, name, key, the chart's value, and what it is changed to."""


@pytest.fixture(scope="module")
def refused(platform: Platform, watch: Watch, rolled_back: Watched) -> Refusal:
    """`kubectl scale`, `patch` and `edit`, each of which changes a field that the chart sets, and an upgrade then."""
    release, before = platform.release, watch.held()
    namespace, gateway = release.namespace, f"{release.full}-gateway"
    namespace.kubectl("scale", f"deployment/{gateway}", "--replicas=3")
    namespace.kubectl("rollout", "status", f"deployment/{gateway}")
    suspend = '{"spec": {"suspend": true}}'
    namespace.kubectl("patch", f"cronjob/{release.full}-materialization", f"--patch={suspend}")
    editor = "KUBE_EDITOR=sed -i 's/maxUnavailable: 1/maxUnavailable: 0/'"
    edit = ("env", editor, "kubectl", "--namespace", namespace.name, "edit", f"poddisruptionbudget/{gateway}")
    namespace.cluster.run(*edit)
    with pytest.raises(CommandError) as refusal:
        release.upgrade(*platform.first_values)
    return Refusal(str(refusal.value), before)


@pytest.fixture(scope="module")
def forced(platform: Platform, refused: Refusal) -> Refusal:
    """What helm was asked and refused, asked again with --force-conflicts."""
    platform.release.upgrade(*platform.first_values, force_conflicts=True)
    return refused


@pytest.mark.parametrize("field", BY_HAND)
def test_helm_refuses_to_overwrite_what_was_changed_by_hand_and_names_the_field(refused: Refusal, field: str) -> None:
    assert "conflict" in refused.said
    assert f": {field}" in refused.said


def test_a_refused_upgrade_leaves_what_was_changed_by_hand_and_what_is_served(
    platform: Platform, refused: Refusal, watch: Watch
) -> None:
    assert by_hand_values(platform.release) == [changed for *_, changed in BY_HAND.values()]
    with platform.release.client() as client:
        for path, answer in platform.right.items():
            response = client.get(path)
            assert (response.status_code, response.json()) == answer
    assert_held(refused.before, watch.held())


def test_force_conflicts_gives_the_fields_back_to_the_chart(platform: Platform, forced: Refusal, watch: Watch) -> None:
    assert by_hand_values(platform.release) == [charts for *_, charts, _ in BY_HAND.values()]
    assert_held(forced.before, watch.held())


def test_after_that_an_upgrade_needs_no_force(platform: Platform, forced: Refusal) -> None:
    platform.release.upgrade(*platform.first_values)


# ---


def values(release: Release, image: str) -> tuple[Values, ...]:
    """All values of the release with this image, once it is filled."""
    repository, _, tag = image.rpartition(":")
    own: Values = {"image": {"repository": repository, "tag": tag}, "freshnessReference": "watermark"}
    return MODEST, AT_EASE, release.ingress_values, own


def image_with_one_feature_more(cluster: Cluster) -> str:
    """Its repository serves a column that the offline store has always held."""
    before, field, after = (REPOSITORY / FEATURES_FILE).read_text().partition(LAST_FIELD)
    return changed_image(cluster, "one-feature-more", {FEATURES_FILE: before + NEW_FIELD + field + after})


def right_answers(release: Release, features: Mapping[str, Mapping[str, Any]]) -> RightAnswers:
    """What is to be answered to calls that name their features, whatever plan is served."""
    users = [GOLDEN, *sorted(features)[:: len(features) // USERS]]
    names = ",".join(features[GOLDEN])
    computed = ",".join(f"value_for_money_odfv:{name}" for name in value_for_money(features[GOLDEN]))
    right: dict[str, tuple[int, Any]] = {}
    for number, user in enumerate(users):
        right[f"/features/{user}?features={names}"] = (200, {"user_id": user, "features": dict(features[user])})
        if number % ON_DEMAND_EACH == 0:
            answer = {"user_id": user, "features": value_for_money(features[user])}
            right[f"/features/{user}?features={computed}"] = (200, answer)
    with release.client() as client:
        stranger = f"/features/{STRANGER}?features={names}"
        right[stranger] = (404, client.get(stranger).json())
    return right


def value_for_money(features: Mapping[str, Any]) -> dict[str, float | None]:
    """The on-demand features; every input is needed for each, as they are of one view."""
    fee, hours, devices = (features[name] for name in ("monthly_fee", "watch_hours_30d", "unique_devices_30d"))
    if fee is None or not hours or not devices:
        return {"fee_per_watch_hour": None, "watch_hours_per_device": None}
    return {"fee_per_watch_hour": fee / hours, "watch_hours_per_device": hours / devices}


def assert_served(watched: Watched, client: str) -> None:
    """Enough was asked, and all of it was answered, and right."""
    report = watched.reports[client]
    assert (report.failed, report.wrong) == ([], []), str(report)
    if client == "ingress":
        assert report.per_second >= PER_SECOND, str(report)
    assert min(report.connections.values()) > 0


def assert_held(before: Held, after: Held) -> None:
    assert before.passwords
    assert before.rows
    assert after == before


def golden(release: Release) -> dict[str, Any]:
    """All features of the default feature service, for one customer."""
    with release.client() as client:
        features: dict[str, Any] = client.get(f"/features/{GOLDEN}").json()["features"]
        return features


def wait_for_features(release: Release, number: int) -> None:
    """Until every gateway serves so many features: each looks for a new plan every few seconds."""
    deadline, found = time.monotonic() + PLAN_SECONDS, set[int]()
    while found != {number}:
        if time.monotonic() > deadline:
            raise WaitError(f"waited {PLAN_SECONDS:g} s in vain: {number} features; seen last: {found}")
        found = {len(golden(release)) for _ in range(10)}


def pods_of(release: Release, component: str) -> list[Object]:
    return release.namespace.objects.all("Pod", component_selector(component))


def images(release: Release, component: str) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in pods_of(release, component)]


def names(release: Release, kind: str, component: str) -> list[str]:
    return [item["metadata"]["name"] for item in release.namespace.of_component(kind, component)]


def cronjob(release: Release) -> Object:
    return release.namespace.objects.get("CronJob", f"{release.full}-materialization")


def by_hand_values(release: Release) -> list[Any]:
    """What the fields that were changed by hand hold now."""
    return [
        release.namespace.objects.get(kind, f"{release.full}-{name}")["spec"][key]
        for kind, name, key, *_ in BY_HAND.values()
    ]
