"""Something breaks, its alert fires in the live Prometheus, and what its runbook says ends it.

Durations are shortened by values. The tests go on from one another's end: at first the features are too old.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from feature_repo.sample import generate, write_export
from tests.e2e import runbooks
from tests.e2e.cluster import REPOSITORY, Cluster
from tests.e2e.namespace import Namespace, outcome
from tests.e2e.prometheus import Prometheus, reached
from tests.e2e.release import MODEST, Release, Values
from tests.e2e.sample_platform import GOLDEN, materialize, wait_for_sample
from tests.e2e.toolbox import claim, toolbox

VALUES: tuple[Values, ...] = (
    MODEST,
    {
        "ingress": {"enabled": True},
        "sampleData": {"enabled": True, "months": 1},
        "postgres": {"exporter": {"enabled": True}},
        "redis": {"exporter": {"enabled": True}},
        "prometheus": {"enabled": True, "scrapeInterval": "2s"},
        "slo": {
            "burn": {"fast": {"factor": 14.4, "longWindow": "1m", "shortWindow": "20s"}, "minimumBadRequests": 5},
        },
        "alerts": {
            "onlineStoreUnreachable": {"for": "2s"},
            "postgresDown": {"for": "2s"},
            "materializationFailed": {"for": "2s"},
            "materializationNeverSucceeded": {"for": "2s"},
            "featuresNotFound": {"window": "1m"},
        },
    },
)
EXPORTS = "exports"
FIRES_SECONDS, ENDS_SECONDS = 180.0, 240.0
BETWEEN_SECONDS = 0.1
EMPTY_REDIS = """
from jobs.online import store
from jobs.settings import load_settings
client = store.connect(load_settings())
for key in [key for key in client.scan_iter(count=1000) if not key.startswith(b"feature-platform:")]:
    client.hdel(key, *client.hgetall(key))
"""


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """The one that the runbooks' commands name: of a month that is long ago, with ages counted from now."""
    namespace = Namespace(cluster, runbooks.NAMESPACE)
    release = Release(namespace, runbooks.RELEASE)
    try:
        release.install(*VALUES)
        wait_for_sample(release)
        materialize(release)
        yield release
    finally:
        cluster.run("kubectl", "delete", "namespace", namespace.name, "--wait", "--timeout=120s")
        cluster.run("kubectl", "apply", "--filename", REPOSITORY / "k8s" / "namespace.yaml")


@pytest.fixture(scope="module")
def prometheus(release: Release) -> Iterator[Prometheus]:
    with reached(release.namespace, f"{release.full}-prometheus") as prometheus:
        yield prometheus


def fires(prometheus: Prometheus, alert: str) -> None:
    """Wait until the alert fires. Raises WaitError."""
    firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    prometheus.wait_until(firing, f"{alert} to fire", seconds=FIRES_SECONDS)


def ends(prometheus: Prometheus, alert: str) -> None:
    """Wait until the alert is neither firing nor pending. Raises WaitError."""
    known = f'ALERTS{{alertname="{alert}"}}'
    prometheus.wait_until(known, f"{alert} to end", lambda seen: not seen, seconds=ENDS_SECONDS)


def follow(release: Release, alert: str, containing: str = "") -> str:
    return runbooks.follow(release.namespace.cluster, runbooks.mitigation(alert, containing))


@contextmanager
def asking(release: Release, path: str) -> Iterator[None]:
    """Somebody asks for the path, ten times a second, whatever the answer is."""
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=release.namespace.cluster.ingress_url, timeout=5.0) as client:
            while not done.wait(BETWEEN_SECONDS):
                client.get(path)

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        yield
    finally:
        done.set()
        caller.join()


def scale(release: Release, kind: str, component: str, replicas: int) -> None:
    release.namespace.objects.patch(kind, f"{release.full}-{component}", {"spec": {"replicas": replicas}})


def test_what_is_well_wakes_nobody(release: Release, prometheus: Prometheus) -> None:
    fires(prometheus, "Watchdog")
    fires(prometheus, "FeaturesExpired")
    told = {alert["labels"]["alertname"] for alert in prometheus.alerts() if alert["state"] == "firing"}
    assert told == {"Watchdog", "FeaturesTooOld", "FeaturesExpired"}, "of a month that is long ago"


def test_features_that_are_too_old_until_a_newer_month_is_materialized(
    release: Release, prometheus: Prometheus, tmp_path: Path
) -> None:
    fires(prometheus, "FeaturesTooOld")
    ingest_newest_month(release, tmp_path)
    assert "materialize: done" in follow(release, "FeaturesTooOld", "create job")
    ends(prometheus, "FeaturesTooOld")
    ends(prometheus, "FeaturesExpired")


def ingest_newest_month(release: Release, folder: Path) -> None:
    """What the runbook asks of whoever makes the exports."""
    month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).date()
    (export,) = generate(months=1, start=month)
    namespace = release.namespace
    namespace.objects.create(claim(EXPORTS))
    with toolbox(namespace, "writer", volumes={EXPORTS: "/exports"}) as writer:
        writer.put(write_export(export, folder), "/exports")
    ingest = {"enabled": True, "existingClaim": EXPORTS, "path": export.folder, "asOf": f"{month}"}
    release.upgrade(*VALUES, {"ingest": ingest})
    (job,) = namespace.of_component("Job", "ingest")
    namespace.job_succeeds(job["metadata"]["name"])


def test_a_materialization_that_failed_until_another_succeeds(release: Release, prometheus: Prometheus) -> None:
    wrong = ["python", "-m", "jobs.materialize", "--as-of=2099-12-31"]
    job = release.namespace.create_job_like(f"{release.full}-materialization", "too-late", wrong)
    assert outcome(release.namespace.wait_for_job(job)) == "Failed"
    fires(prometheus, "MaterializationFailed")
    assert "materialize: done" in follow(release, "MaterializationFailed")
    ends(prometheus, "MaterializationFailed")


def test_customers_that_are_not_found_until_they_are_materialized_again(
    release: Release, prometheus: Prometheus
) -> None:
    namespace = release.namespace
    with asking(release, f"/features/{GOLDEN}"):
        lossy = ["python", "-c", EMPTY_REDIS]
        namespace.job_succeeds(namespace.create_job_like(f"{release.full}-materialization", "lossy", lossy))
        fires(prometheus, "FeaturesNotFound")
        assert "materialize: done" in follow(release, "FeaturesNotFound")
        ends(prometheus, "FeaturesNotFound")


def test_a_redis_that_is_gone_until_it_is_back(release: Release, prometheus: Prometheus) -> None:
    scale(release, "StatefulSet", "redis", 0)
    fires(prometheus, "OnlineStoreUnreachable")
    follow(release, "OnlineStoreUnreachable", "scale")
    ends(prometheus, "OnlineStoreUnreachable")


def test_a_postgres_that_is_gone_until_it_is_back(release: Release, prometheus: Prometheus) -> None:
    scale(release, "StatefulSet", "postgres", 0)
    fires(prometheus, "PostgresDown")
    follow(release, "PostgresDown", "scale")
    ends(prometheus, "PostgresDown")
    assert "materialize: done" in follow(release, "PostgresDown", "create job")


def test_a_gateway_that_errs_until_what_it_asks_is_there_again(release: Release, prometheus: Prometheus) -> None:
    with asking(release, f"/features/{GOLDEN}?feature_service=churn_v2"):
        scale(release, "Deployment", "feature-server", 0)
        fires(prometheus, "AvailabilityBurnFast")
        follow(release, "FeatureServerDown")  # what its table leads to
        ends(prometheus, "AvailabilityBurnFast")
