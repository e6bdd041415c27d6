"""`helm uninstall` leaves the volumes and what opens them; the next installation goes on where this one has ended."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object
from tests.e2e.release import MODEST, Release
from tests.e2e.sample_platform import features_in_postgres, install_with_sample
from tests.e2e.toolbox import toolbox

AS_OF = "2024-01-31T00:00:00"
SET = "january"
GONE_SECONDS = 150.0
NOT_LEFT = (
    "ConfigMap", "CronJob", "Deployment", "Ingress", "Job", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service",
    "StatefulSet",
)  # fmt: skip
RELEASES = "helm.sh/release.v1"


@dataclass(frozen=True)
class State:
    """What must outlive a release."""

    claims: Mapping[str, str]
    """Name -> uid."""
    secrets: Mapping[str, str]
    """Name -> sha256 of what it holds."""
    runs: list[Object]
    features: Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    return Release(namespace)


@pytest.fixture(scope="module")
def before(release: Release) -> State:
    """The release with a month served and in a training set."""
    install_with_sample(release, 1, {"trainingSet": {"labelHorizon": "0"}})
    release.namespace.job_succeeds(release.namespace.create_job_from_cronjob(f"{release.full}-training-set", SET))
    return State(claims(release), secrets(release), runs(release), features_in_postgres(release, AS_OF))


@pytest.fixture(scope="module")
def uninstalled(release: Release, before: State) -> Release:
    release.uninstall()
    return release


@pytest.fixture(scope="module")
def again(uninstalled: Release) -> Release:
    """Installed anew, without any sample."""
    uninstalled.install(MODEST, uninstalled.ingress_values, {"freshnessReference": "watermark"})
    return uninstalled


@pytest.fixture(scope="module")
def gateway(again: Release) -> httpx.Client:
    return again.client()


def test_uninstall_leaves_nothing_that_runs_or_is_configured(uninstalled: Release) -> None:
    for kind in NOT_LEFT:
        uninstalled.namespace.objects.until(
            kind,
            lambda seen: not seen,
            f"no {kind} of the release",
            seconds=GONE_SECONDS,
            selector=f"app.kubernetes.io/instance={uninstalled.name}",
        )


def test_uninstall_keeps_every_volume(uninstalled: Release, before: State) -> None:
    full = uninstalled.full
    assert set(before.claims) == {f"data-{full}-postgres-0", f"data-{full}-redis-0", f"{full}-training-sets"}
    assert claims(uninstalled) == before.claims


def test_uninstall_keeps_every_password(uninstalled: Release, before: State) -> None:
    assert len(before.secrets) > 1
    assert secrets(uninstalled) == before.secrets


def test_the_next_installation_uses_the_same_passwords_and_volumes(again: Release, before: State) -> None:
    assert secrets(again) == before.secrets
    assert claims(again) == before.claims


def test_the_next_installation_finds_every_row_and_run(again: Release, before: State) -> None:
    assert features_in_postgres(again, AS_OF) == before.features
    kept = runs(again)[: len(before.runs)]
    assert [run["job"] for run in kept] == ["apply", "ingest", "materialize", "training_set"]
    assert kept == before.runs


def test_the_next_installation_serves_at_once_what_was_materialized_before(
    gateway: httpx.Client, before: State
) -> None:
    users = sorted(before.features)[:100]
    rows = gateway.post("/features", json={"entities": {"user_id": users}}).json()["results"]
    assert {row["user_id"]: row["features"] for row in rows} == {user: before.features[user] for user in users}


def test_the_next_installation_has_the_training_sets(again: Release) -> None:
    with toolbox(again.namespace, "reader", volumes={f"{again.full}-training-sets": "/training-sets"}) as reader:
        assert json.loads(reader.run("cat", f"/training-sets/{SET}/manifest.json"))["rows"] > 0


def claims(release: Release) -> Mapping[str, str]:
    found = release.namespace.objects.all("PersistentVolumeClaim")
    return {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in found}


def secrets(release: Release) -> Mapping[str, str]:
    """Every Secret but helm's own; hashes, which a failing test may show."""
    return {
        secret["metadata"]["name"]: hashlib.sha256(json.dumps(secret["data"], sort_keys=True).encode()).hexdigest()
        for secret in release.namespace.objects.all("Secret")
        if secret["type"] != RELEASES
    }


def runs(release: Release) -> list[Object]:
    """The ledger, oldest run first."""
    return release.sql("SELECT * FROM ledger.runs ORDER BY run_id")
