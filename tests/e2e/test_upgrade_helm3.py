"""A release that Helm 3 made is upgraded and rolled back by Helm 3, and then goes over to Helm 4."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.chart.tools import helm, helm3
from tests.e2e.held import Held, held
from tests.e2e.namespace import Namespace
from tests.e2e.release import MODEST, Release, Values
from tests.e2e.sample_platform import GOLDEN, install_with_sample, sample_values
from tests.e2e.toolbox import toolbox
from tests.e2e.upgrading import JOB_LABELS

MONTHS = 1
SCHEDULE, HELM3_SCHEDULE, HELM4_SCHEDULE = "0 6 1-10 * *", "0 7 1-10 * *", "0 8 1-10 * *"
REPLICAS = 2


@dataclass(frozen=True)
class Step:
    """What a change of the release has left."""

    schedule: str
    replicas: int
    fee: float
    """One feature, through the ingress."""
    held: Held


@dataclass(frozen=True)
class Story:
    """Installed by Helm 3, and each step from the one before."""

    installed: Step
    upgraded: Step
    """Helm 3, after `kubectl scale`."""
    rolled_back: Step
    upgraded_by_helm4: Step


@pytest.fixture(scope="module")
def reader(namespace: Namespace) -> Iterator[str]:
    """A pod that the policies let to Redis."""
    with toolbox(namespace, "reader", labels=JOB_LABELS | {"app.kubernetes.io/instance": "churn"}) as pod:
        yield pod.name


@pytest.fixture(scope="module")
def story(namespace: Namespace, reader: str) -> Story:
    release = Release(namespace, program=helm3())
    install_with_sample(release, MONTHS)
    installed = step(release, reader)
    namespace.kubectl("scale", f"deployment/{release.full}-gateway", f"--replicas={REPLICAS + 1}")
    release.upgrade(*values(release, HELM3_SCHEDULE))
    upgraded = step(release, reader)
    release.rollback()
    rolled_back = step(release, reader)
    Release(namespace, program=helm()).upgrade(*values(release, HELM4_SCHEDULE))
    return Story(installed, upgraded, rolled_back, step(release, reader))


def values(release: Release, schedule: str) -> tuple[Values, ...]:
    return MODEST, release.ingress_values, sample_values(MONTHS), {"materialization": {"schedule": schedule}}


def step(release: Release, reader: str) -> Step:
    objects = release.namespace.objects
    with release.client() as client:
        fee = client.get(f"/features/{GOLDEN}").json()["features"]["monthly_fee"]
    return Step(
        schedule=objects.get("CronJob", f"{release.full}-materialization")["spec"]["schedule"],
        replicas=objects.get("Deployment", f"{release.full}-gateway")["spec"]["replicas"],
        fee=fee,
        held=held(release, reader),
    )


def test_helm_3_upgrades_its_release_and_takes_back_what_was_changed_by_hand(story: Story) -> None:
    assert (story.upgraded.schedule, story.upgraded.replicas, story.upgraded.fee) == (HELM3_SCHEDULE, REPLICAS, 29.85)


def test_helm_3_rolls_its_release_back(story: Story) -> None:
    assert (story.rolled_back.schedule, story.rolled_back.fee) == (SCHEDULE, 29.85)


def test_helm_4_upgrades_a_release_of_helm_3(story: Story) -> None:
    assert (story.upgraded_by_helm4.schedule, story.upgraded_by_helm4.fee) == (HELM4_SCHEDULE, 29.85)


def test_both_leave_stores_passwords_and_data_alone(story: Story) -> None:
    steps = [story.upgraded, story.rolled_back, story.upgraded_by_helm4]
    assert [step.held for step in steps] == [story.installed.held] * len(steps)
