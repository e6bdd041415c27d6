"""A release whose Postgres and Redis are somebody else's: behind TLS, with logins from Secrets that somebody made."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e import answers, outages
from tests.e2e.cluster import Cluster
from tests.e2e.external_stores import ExternalRelease, external_stores
from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object
from tests.e2e.sample_platform import GOLDEN, features_in_postgres, install_with_sample

MONTHS = 2
"""A training set needs the month after the one it begins with."""
AS_OF = "2024-02-29T00:00:00"
RELEASES = "helm.sh/release.v1"
TOLD_BY_KUBECTL = "pods,jobs,cronjobs,deployments,configmaps,services,networkpolicies,events"
# The variable with the address of a store, and how the certificate's refusal is told.
ANOTHER = {
    "postgres": ("PGHOST", "does not match host name"),
    "redis": ("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", "certificate verify failed"),
}

Features = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def release(cluster: Cluster, namespace: Namespace) -> Iterator[ExternalRelease]:
    """The newest month is served."""
    with external_stores(cluster, namespace) as stores:
        release = ExternalRelease(namespace, stores)
        install_with_sample(release, MONTHS, stores.values)
        yield release


@pytest.fixture(scope="module")
def gateway(release: ExternalRelease) -> httpx.Client:
    return release.client()


@pytest.fixture(scope="module")
def right(release: ExternalRelease) -> Features:
    return features_in_postgres(release, AS_OF)


def test_every_customer_is_served_as_the_external_postgres_has_them(gateway: httpx.Client, right: Features) -> None:
    assert len(right[GOLDEN]) == 14
    assert answers.served(gateway, sorted(right)) == right


def test_the_feature_server_computes_from_the_external_redis(gateway: httpx.Client, right: Features) -> None:
    features, row = answers.features_of(gateway, GOLDEN, "churn_v2"), right[GOLDEN]
    assert features["fee_per_watch_hour"] == row["monthly_fee"] / row["watch_hours_30d"]


def test_a_training_set_is_built_from_the_external_postgres(release: ExternalRelease) -> None:
    job = release.namespace.create_job_from_cronjob(f"{release.full}-training-set", "training-set")
    assert " rows of churn_v1 " in release.namespace.job_succeeds(job)


def test_the_release_has_no_store_of_its_own(release: ExternalRelease) -> None:
    assert release.namespace.objects.all("StatefulSet") == []
    assert [name_of(claim) for claim in release.namespace.objects.all("PersistentVolumeClaim")] == [
        f"{release.full}-training-sets"
    ]


def test_no_secret_is_of_the_charts_making(release: ExternalRelease) -> None:
    secrets = release.namespace.objects.all("Secret")
    assert {name_of(secret) for secret in secrets if secret["type"] != RELEASES} == release.stores.secrets


def test_no_password_is_in_what_helm_and_kubectl_tell(release: ExternalRelease) -> None:
    told = release.told() + release.namespace.kubectl("get", TOLD_BY_KUBECTL, "--output=json")
    assert "postgres-owner" in told
    # Their first words, which no format writes otherwise.
    assert [password for password in release.stores.passwords if password.split()[0] in told] == []


@pytest.mark.parametrize("store", ANOTHER)
def test_a_store_under_a_name_that_its_certificate_does_not_hold_is_refused(
    release: ExternalRelease, store: str
) -> None:
    variable, refusal = ANOTHER[store]
    job = waiting_for_another(release, store, variable)
    outages.wait_for_log(release.namespace, outages.running_pod(release.namespace, job), refusal)
    release.namespace.objects.delete("Job", job)


def waiting_for_another(release: ExternalRelease, store: str, variable: str) -> str:
    """Start a Job that waits, as before a materialization, for the same store under another name."""
    name, like = f"another-{store}", f"--from=cronjob/{release.full}-materialization"
    job = json.loads(release.namespace.kubectl("create", "job", like, name, "--dry-run=client", "--output=json"))
    pod = job["spec"]["template"]["spec"]
    (waiting,) = pod.pop("initContainers")
    (container,) = pod["containers"]
    container["command"] = waiting["command"]
    (address,) = [setting for setting in container["env"] if setting["name"] == variable]
    assert address["value"].startswith(f"{store}.")
    address["value"] = f"another-{address['value']}"
    release.namespace.objects.create(job)
    return name


def name_of(item: Object) -> str:
    name: str = item["metadata"]["name"]
    return name
