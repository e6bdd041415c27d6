"""From an empty namespace to served features: install, months, materialization, training sets, a month refused."""

import hashlib
import io
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from feature_repo.sample import generate, write_export
from tests.e2e import answers
from tests.e2e.namespace import Namespace, is_ready, outcome, restarts
from tests.e2e.objects import Object
from tests.e2e.release import Release
from tests.e2e.sample_platform import (
    GOLDEN,
    STRANGER,
    features_in_postgres,
    materialize,
    sample_values,
    wait_for_sample,
    wait_until_served,
)
from tests.e2e.toolbox import Toolbox, claim, toolbox

MONTHS = 3
NEWEST = "2024-03-31T00:00:00"
INSTALL_SECONDS = 240
ASKED_ONE_BY_ONE = 150
EXPORTS = "exports"
BROKEN_MONTH = "2024-04-30"


@dataclass(frozen=True)
class Installation:
    """A release, and how long `helm install --wait` took."""

    release: Release
    seconds: float


@pytest.fixture(scope="module")
def installation(namespace: Namespace) -> Installation:
    release = Release(namespace)
    started = time.monotonic()
    release.install(release.ingress_values, sample_values(MONTHS))
    return Installation(release, time.monotonic() - started)


@pytest.fixture(scope="module")
def release(installation: Installation) -> Release:
    return installation.release


@pytest.fixture(scope="module")
def ingested(release: Release) -> str:
    """The last word of the Job that ingested the sample."""
    return wait_for_sample(release)


@pytest.fixture(scope="module")
def materialized(release: Release, ingested: str) -> str:
    """The last word of the materialization that was started by hand."""
    return materialize(release)


@pytest.fixture(scope="module")
def gateway(release: Release, materialized: str) -> httpx.Client:
    wait_until_served(release)
    return release.client()


@pytest.fixture(scope="module")
def right(release: Release, materialized: str) -> dict[str, dict[str, Any]]:
    return features_in_postgres(release, NEWEST)


def test_helm_install_waits_until_every_pod_is_ready_in_under_four_minutes(installation: Installation) -> None:
    pods = installation.release.namespace.objects.all("Pod")
    assert {component(pod) for pod in pods} >= {"gateway", "feature-server", "postgres", "redis", "apply"}
    assert [pod["metadata"]["name"] for pod in pods if not is_ready(pod) and not is_of_a_job(pod)] == []
    assert installation.seconds < INSTALL_SECONDS


def test_nothing_was_restarted_and_no_job_needed_a_second_try(release: Release, materialized: str) -> None:
    objects = release.namespace.objects
    assert {pod["metadata"]["name"]: restarts(pod) for pod in objects.all("Pod") if restarts(pod)} == {}
    assert {job["metadata"]["name"]: outcome(job) for job in objects.all("Job") if outcome(job) != "Complete"} == {}
    assert {job["metadata"]["name"]: job["status"].get("failed", 0) for job in objects.all("Job")} == {
        job["metadata"]["name"]: 0 for job in objects.all("Job")
    }


def test_every_month_of_the_sample_is_in_the_offline_store(release: Release, ingested: str) -> None:
    rows = release.sql("SELECT DISTINCT label_at::date::text AS month FROM offline.churn_labels ORDER BY 1")
    assert [row["month"] for row in rows] == ["2024-01-31", "2024-02-29", "2024-03-31"]


def test_the_materialization_tells_as_of_rows_and_duration(materialized: str, right: dict[str, dict[str, Any]]) -> None:
    pattern = r"materialize: done: as_of (\S+), (\d+) rows in 4 feature views, .*, verified, [\d.]+ s"
    told = re.fullmatch(pattern, materialized)
    assert told, materialized
    assert told.groups() == (f"{NEWEST}Z", str(4 * len(right)))


def test_kubectl_shows_what_is_scheduled_and_what_ran(release: Release, materialized: str) -> None:
    shown = release.namespace.kubectl("get", "cronjob,job")
    assert re.search(rf"cronjob.batch/{release.full}-materialization +0 6 1-10 \* \* +Etc/UTC +False", shown), shown
    assert re.search(rf"cronjob.batch/{release.full}-training-set .* True ", shown), shown
    assert re.search(r"job.batch/by-hand +Complete +1/1 +\d+s", shown), shown
    described = release.namespace.kubectl("describe", "pods", "--selector=batch.kubernetes.io/job-name=by-hand")
    assert re.search(r"Message: +" + re.escape(materialized), described), described


def test_every_customer_is_served_through_the_ingress_as_postgres_has_them(
    gateway: httpx.Client, right: dict[str, dict[str, Any]]
) -> None:
    users = sorted(right)
    assert len(users) > 6000
    assert len(right[GOLDEN]) == 14
    assert answers.served(gateway, users) == right


def test_customers_asked_for_one_by_one_are_the_same(gateway: httpx.Client, right: dict[str, dict[str, Any]]) -> None:
    for user in [GOLDEN, *sorted(right)[:: len(right) // ASKED_ONE_BY_ONE]]:
        answer = gateway.get(f"/features/{user}")
        assert answer.json() == {"user_id": user, "features": right[user]}


def test_an_unknown_user_is_404(gateway: httpx.Client) -> None:
    answer = gateway.get(f"/features/{STRANGER}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_helm_test_passes_once_features_are_materialized(release: Release, materialized: str) -> None:
    assert re.search(r"Phase: +Succeeded", release.test())


def test_a_job_from_the_suspended_cronjob_leaves_a_training_set_on_the_volume(release: Release, ingested: str) -> None:
    namespace = release.namespace
    job = namespace.create_job_from_cronjob(f"{release.full}-training-set", "every-month")
    message = namespace.job_succeeds(job)
    with toolbox(namespace, "reader", volumes={f"{release.full}-training-sets": "/training-sets"}) as reader:
        manifest, rows = training_set(reader, f"/training-sets/{job}")
    assert manifest["window"] == {"start": "2024-01-31T00:00:00Z", "end": f"{NEWEST}Z"}
    assert f" {len(rows):,} rows of churn_v1 " in message
    (golden,) = [row for row in rows if row["user_id"] == GOLDEN and instant(row) == "2024-01-31"]
    assert (golden["months_active"], golden["monthly_fee"], golden["net_service"]) == (1, 29.85, "DSL")


def test_values_that_name_a_window_build_its_training_set(release: Release, ingested: str) -> None:
    window = {"start": "2024-01-31", "end": "2024-01-31"}
    release.upgrade(release.ingress_values, sample_values(MONTHS), {"trainingSet": window})
    namespace = release.namespace
    prefix = f"{release.full}-training-set-"
    (job,) = [name for name in map(name_of, namespace.of_component("Job", "training-set")) if name.startswith(prefix)]
    namespace.job_succeeds(job)
    with toolbox(namespace, "reader", volumes={f"{release.full}-training-sets": "/training-sets"}) as reader:
        manifest, rows = training_set(reader, f"/training-sets/{job}")
    assert manifest["window"] == {"start": "2024-01-31T00:00:00Z", "end": "2024-01-31T00:00:00Z"}
    assert set(map(instant, rows)) == {"2024-01-31"}


def test_a_month_that_breaks_its_contract_fails_once_and_says_why(
    release: Release, ingested: str, tmp_path: Path
) -> None:
    namespace = release.namespace
    namespace.objects.create(claim(EXPORTS))
    with toolbox(namespace, "writer", volumes={EXPORTS: "/exports"}) as writer:
        writer.put(broken_month(tmp_path), "/exports")
    values = {"enabled": True, "existingClaim": EXPORTS, "path": BROKEN_MONTH, "asOf": BROKEN_MONTH}
    release.upgrade(release.ingress_values, sample_values(MONTHS), {"ingest": values}, wait=False)
    (job,) = map(name_of, namespace.of_component("Job", "ingest"))
    ended = namespace.wait_for_job(job)
    assert outcome(ended) == "Failed"
    assert ended["status"]["failed"] == 1
    assert len(namespace.job_pods(job)) == 1
    why = namespace.kubectl("describe", "pods", f"--selector=batch.kubernetes.io/job-name={job}")
    assert re.search(r"ingest: failed \(exit 3\): .*usage_agg_30d\.csv.*line 2.*watch_hours_30d.*-3", why), why
    assert re.search(r"PodFailurePolicy .*exit code 3", namespace.kubectl("describe", "job", job))
    assert release.sql(f"SELECT 1 FROM offline.churn_labels WHERE label_at = '{BROKEN_MONTH}'") == []


def component(item: Object) -> str:
    label: str = item["metadata"]["labels"].get("app.kubernetes.io/component", "")
    return label


def name_of(item: Object) -> str:
    name: str = item["metadata"]["name"]
    return name


def instant(row: dict[str, Any]) -> str:
    """The day of a training set's row."""
    return f"{row['event_timestamp']:%Y-%m-%d}"


def is_of_a_job(pod: Object) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))


def training_set(reader: Toolbox, folder: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The set's manifest, which is true of its Parquet file, and the rows of that."""
    manifest = json.loads(reader.run("cat", f"{folder}/manifest.json"))
    parquet = reader.run("cat", f"{folder}/training_df.parquet")
    assert manifest["files"]["training_df.parquet"]["sha256"] == hashlib.sha256(parquet).hexdigest()
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(parquet)).to_pylist()
    assert manifest["rows"] == len(rows) > 0
    return manifest, rows


def broken_month(folder: Path) -> Path:
    """The sample's next month, in which somebody watched less than nothing."""
    export = write_export(list(generate(months=MONTHS + 1))[-1], folder)
    assert export.name == BROKEN_MONTH
    usage = export / "usage_agg_30d.csv"
    header, first, rest = usage.read_text().split("\n", 2)
    user, _, others = first.split(",", 2)
    usage.write_text("\n".join([header, f"{user},-3,{others}", rest]))
    return export
