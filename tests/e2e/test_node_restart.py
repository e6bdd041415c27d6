"""The only node of a cluster is restarted under a release: all of it comes back, and nobody lifts a hand.

The module comes last and restarts the session's own cluster; one that E2E_CLUSTER names may have other users, and is
left alone: then the node is that of a new cluster.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import pytest

from tests.e2e import answers, nodes
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import NewCluster, namespace_for
from tests.e2e.held import held
from tests.e2e.namespace import Namespace, is_ready, outcome, restarts, termination_message
from tests.e2e.objects import Object
from tests.e2e.release import Release
from tests.e2e.sample_platform import GOLDEN, features_in_postgres, install_with_sample
from tests.e2e.toolbox import toolbox
from tests.e2e.upgrading import JOB_LABELS

AS_OF = "2024-01-31T00:00:00"
COMPONENTS = ("gateway", "feature-server", "postgres", "redis")
RUNNING = f"app.kubernetes.io/component in ({', '.join(COMPONENTS)})"
NEVER, EACH_MINUTE = "0 0 29 2 *", "* * * * *"
READY_SECONDS = 240.0
NEXT_MINUTE_SECONDS = 90.0
KEPT = ("passwords", "rows of the offline store", "online store", "ledger", "cronjobs", "on-demand features")


@dataclass(frozen=True)
class Restart:
    """The pods that run all the time, by name, before and after; and what else there was before."""

    before: Mapping[str, Object]
    after: Mapping[str, Object]
    kept: Mapping[str, Any]


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest, new_cluster: NewCluster) -> Iterator[Namespace]:
    if os.environ.get("E2E_CLUSTER"):
        with new_cluster(0) as own, namespace_for(own, request) as started:
            yield started
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    with namespace_for(cluster, request) as started:
        yield started


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    """One month served; no materialization starts unless a test says so."""
    release = Release(namespace)
    install_with_sample(release, 1, {"materialization": {"schedule": NEVER}})
    return release


@pytest.fixture(scope="module")
def restart(release: Release) -> Restart:
    """The node is restarted, and the release's pods are ready again."""
    namespace = release.namespace
    release.client()
    kept = kept_by(release, "before")
    before = {pod["metadata"]["name"]: pod for pod in namespace.objects.all("Pod", RUNNING)}
    nodes.restart(namespace.cluster.control_plane)

    def are_back(seen: Mapping[str, Object]) -> dict[str, Object] | None:
        # What the API server says of a pod before the node has spoken again is of the pod's former life.
        ready = {name: pod for name, pod in seen.items() if is_ready(pod) and lives(pod) != lives(before.get(name))}
        return ready if len(ready) == len(before) else None

    what = "every pod to run and be ready again"
    after = namespace.objects.until("Pod", are_back, what, seconds=READY_SECONDS, selector=RUNNING)
    return Restart(before, after, kept)


@pytest.fixture(scope="module")
def gateway(release: Release, restart: Restart) -> httpx.Client:
    """A client, as soon as features come through the ingress again."""
    client = release.namespace.cluster.through_ingress(release.host)
    answers.served(client, [GOLDEN])
    return client


@pytest.fixture(scope="module")
def kept(release: Release, gateway: httpx.Client) -> dict[str, Any]:
    """What there is afterwards, for each of KEPT."""
    return kept_by(release, "after")


def lives(pod: Object | None) -> tuple[str, int] | None:
    """A pod whose containers were started again is in another life."""
    return (pod["metadata"]["uid"], restarts(pod)) if pod else None


def kept_by(release: Release, reader: str) -> dict[str, Any]:
    """What there is, for each of KEPT; `reader` names a pod that is made to read it."""
    labels = JOB_LABELS | {"app.kubernetes.io/instance": release.name}
    with toolbox(release.namespace, reader, labels=labels):
        stores = asdict(held(release, reader))
    return {
        "passwords": stores["passwords"],
        "rows of the offline store": stores["rows"],
        "online store": stores["online"],
        "ledger": release.sql("SELECT * FROM ledger.runs ORDER BY run_id"),
        "cronjobs": {
            item["metadata"]["name"]: (item["metadata"]["uid"], item["spec"])
            for item in release.namespace.objects.all("CronJob")
        },
        "on-demand features": answers.features_of(release.client(), GOLDEN, "churn_v2"),
    }


def test_the_same_pods_are_ready_again(restart: Restart) -> None:
    assert {name: pod["metadata"]["uid"] for name, pod in restart.after.items()} == {
        name: pod["metadata"]["uid"] for name, pod in restart.before.items()
    }


def test_no_container_had_to_be_started_more_than_once(restart: Restart) -> None:
    """Each waits for what it needs, instead of ending and being started later and later."""
    again = {
        name: {
            status["name"]: status["restartCount"]
            for status in [*(pod["status"].get("initContainerStatuses") or []), *pod["status"]["containerStatuses"]]
            if status["restartCount"] > 1
        }
        for name, pod in restart.after.items()
    }
    assert not any(again.values()), again


def test_every_customer_is_served_again_as_postgres_has_them(release: Release, gateway: httpx.Client) -> None:
    right = features_in_postgres(release, AS_OF)
    assert len(right[GOLDEN]) == 14
    assert answers.served(gateway, sorted(right)) == right


@pytest.mark.parametrize("what", KEPT)
def test_nothing_is_lost_and_nothing_ran_to_mend_it(restart: Restart, kept: Mapping[str, Any], what: str) -> None:
    assert kept[what] == restart.kept[what]


def test_the_materialization_starts_at_its_hour_as_before(release: Release, gateway: httpx.Client) -> None:
    namespace = release.namespace
    earlier = {job["metadata"]["name"] for job in namespace.objects.all("Job")}
    namespace.objects.patch("CronJob", f"{release.full}-materialization", {"spec": {"schedule": EACH_MINUTE}})

    def ended(seen: Mapping[str, Object]) -> str | None:
        return next((name for name, job in seen.items() if name not in earlier and outcome(job)), None)

    job = namespace.objects.until("Job", ended, "the next minute's materialization", seconds=NEXT_MINUTE_SECONDS)
    (pod,) = namespace.job_pods(job)
    assert "nothing new" in termination_message(pod)
