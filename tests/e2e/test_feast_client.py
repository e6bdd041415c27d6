"""Feast's own SDK in a pod of the cluster: what the gateway and the feature server answer it is the same, and right."""

import json
from typing import Any

import pytest

from tests.e2e import in_pods
from tests.e2e.namespace import Namespace
from tests.e2e.release import Release
from tests.e2e.sample_platform import GOLDEN, STRANGER, features_in_postgres, install_with_sample
from tests.e2e.toolbox import toolbox

AS_OF = "2024-01-31T00:00:00"
ASKED = 100
SECONDS = "60"
GATEWAY, FEATURE_SERVER = "gateway", "feature-server"
DEFAULT, ON_DEMAND = "churn_v1", "churn_v2"

Columns = dict[str, list[Any]]


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    release = Release(namespace)
    install_with_sample(release, 1)
    return release


@pytest.fixture(scope="module")
def right(release: Release) -> dict[str, dict[str, Any]]:
    """Of a sample of customers, what Postgres says."""
    customers = features_in_postgres(release, AS_OF)
    users = [GOLDEN, *sorted(customers)[:: len(customers) // ASKED]]
    return {user: customers[user] for user in users}


@pytest.fixture(scope="module")
def answers(release: Release, right: dict[str, dict[str, Any]]) -> dict[str, dict[str, Columns]]:
    """Per server and feature service the columns for these customers, and for one whom nobody knows."""
    order = {
        "project": "streamflow",
        "registry": registry(release),
        "servers": {
            GATEWAY: f"http://{release.full}-gateway",
            FEATURE_SERVER: f"http://{release.full}-feature-server:6566",
        },
        "feature_services": [DEFAULT, ON_DEMAND],
        "entity_rows": [{"user_id": user} for user in [*right, STRANGER]],
    }
    let_in = {f"{release.full}-feature-server-client": "true"}
    with toolbox(release.namespace, "scoring", labels=let_in) as scoring:
        # The SDK itself waits for ever for a server that does not answer.
        said = scoring.run("timeout", SECONDS, *in_pods.command("feast_client"), stdin=json.dumps(order).encode())
    answered: dict[str, dict[str, Columns]] = json.loads(said.splitlines()[-1])
    return answered


@pytest.mark.parametrize("feature_service", [DEFAULT, ON_DEMAND])
def test_the_gateway_and_the_feature_server_give_an_sdk_the_same_values(
    answers: dict[str, dict[str, Columns]], feature_service: str
) -> None:
    assert answers[GATEWAY][feature_service] == answers[FEATURE_SERVER][feature_service]


@pytest.mark.parametrize("server", [GATEWAY, FEATURE_SERVER])
def test_the_values_are_those_of_postgres_and_a_stranger_has_none(
    answers: dict[str, dict[str, Columns]], right: dict[str, dict[str, Any]], server: str
) -> None:
    columns = answers[server][DEFAULT]
    names = [name for name in columns if name != "user_id"]
    rows = {user: {name: columns[name][place] for name in names} for place, user in enumerate(columns["user_id"])}
    assert rows == right | {STRANGER: dict.fromkeys(names)}


def test_features_on_demand_are_computed_from_them(
    answers: dict[str, dict[str, Columns]], right: dict[str, dict[str, Any]]
) -> None:
    columns = answers[GATEWAY][ON_DEMAND]
    golden = right[GOLDEN]
    computed = columns["fee_per_watch_hour"][columns["user_id"].index(GOLDEN)]
    assert computed == pytest.approx(golden["monthly_fee"] / golden["watch_hours_30d"])


def registry(release: Release) -> str:
    """The release's registry as a file for clients, in base64: read by a pod that may, which is a training set's."""
    namespace = release.namespace
    job = namespace.create_job_like(f"{release.full}-training-set", "registry", in_pods.command("registry"))
    namespace.wait_for_job(job)
    (pod,) = namespace.job_pods(job)
    said: str = json.loads(namespace.logs(pod["metadata"]["name"]).splitlines()[-1])["registry"]
    return said
