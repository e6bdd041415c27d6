"""Who may connect to whom, as a truth table, and what is behind the one door that asks nobody who they are.

The Kubernetes API is no column: a policy never keeps a pod from the node that it runs on, and here the API runs on it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e import in_pods, online_bytes, probes
from tests.e2e.cluster import Cluster
from tests.e2e.namespace import Namespace, fresh_namespace, is_ready
from tests.e2e.objects import Object
from tests.e2e.probes import Probe
from tests.e2e.release import MODEST, Release
from tests.e2e.sample_platform import sample_values, wait_for_sample
from tests.e2e.toolbox import manifest

RELEASE = "churn"
VALUES = {**sample_values(months=1), "prometheus": {"enabled": True}}
CLIENT = {f"{RELEASE}-feature-platform-feature-server-client": "true"}

ALLOWED = """
                              gateway  metrics  server-metrics  service  feature-server  postgres  redis  outside  names
gateway                       -        -        -               -        yes             -         yes    -        yes
feature-server                -        -        -               -        -               yes       yes    -        yes
apply                         -        -        -               -        -               yes       yes    -        yes
materialization               -        -        -               -        -               yes       yes    -        yes
training-set                  -        -        -               -        -               yes       -      -        yes
ingest                        -        -        -               -        -               yes       -      -        yes
sample-data                   -        -        -               -        -               yes       -      -        yes
test                          yes      -        -               yes      -               yes       -      -        yes
postgres                      -        -        -               -        -               -         -      -        yes
redis                         -        -        -               -        -               -         -      -        yes
prometheus                    -        yes      yes             -        -               -         -      -        yes
none of the components        -        -        -               -        -               -         -      -        yes
stranger                      yes      yes      yes             yes      -               -         -      yes      yes
client of the feature server  yes      yes      yes             yes      yes             -         -      yes      yes
gateway of another release    yes      yes      yes             yes      -               -         -      yes      yes
stranger elsewhere            yes      yes      yes             yes      -               -         -      yes      yes
client's label elsewhere      yes      yes      yes             yes      -               -         -      yes      yes
gateway's labels elsewhere    yes      yes      yes             yes      -               -         -      yes      yes
""".strip("\n")
"""`metrics`: a gateway's; `service`: the gateways' Service; `outside`: a pod elsewhere, as one on the
internet would be; `names`: DNS."""
COMPONENTS = (
    "gateway", "feature-server", "apply", "materialization", "training-set", "ingest", "sample-data", "test",
    "postgres", "redis", "prometheus",
)  # fmt: skip
SERVED = ("gateway", "feature-server", "postgres", "redis", "prometheus")

ROW = {
    "user_id": ["written-by-a-client"], "as_of": ["2024-01-31T00:00:00Z"], "created_at": ["2024-02-01T00:00:00Z"],
    "months_active": [1], "monthly_fee": [1.0], "paperless_billing": [True], "plan_stream_tv": [True],
    "plan_stream_movies": [True], "net_service": ["DSL"],
}  # fmt: skip
WINDOW = {"start_ts": "2023-12-01T00:00:00", "end_ts": "2024-02-01T00:00:00", "feature_views": ["subs_profile_fv"]}
WRITES: Mapping[str, Mapping[str, Any]] = {
    "/write-to-online-store": {"feature_view_name": "subs_profile_fv", "df": ROW},
    "/push": {"push_source_name": "subscriptions_profile_snapshots", "df": ROW, "to": "online"},
    "/materialize": WINDOW,
    "/materialize-incremental": {"end_ts": WINDOW["end_ts"], "feature_views": WINDOW["feature_views"]},
}


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    """With a month in Postgres, so that a materialization by the feature server would have something to write."""
    release = Release(namespace, RELEASE)
    release.install(VALUES, MODEST)
    wait_for_sample(release)
    return release


@pytest.fixture(scope="module")
def elsewhere(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace that the release knows nothing of."""
    with fresh_namespace(cluster, "e2e-elsewhere") as started:
        yield started


@pytest.fixture(scope="module")
def outside(elsewhere: Namespace) -> str:
    """The address of a server that is no part of the platform, and answers everyone."""
    pod = manifest("outside", elsewhere.cluster.image, {}, {})
    (container,) = pod["spec"]["containers"]
    container["command"] = ["python", "-m", "http.server", "--directory=/tmp", "8443"]
    container["readinessProbe"] = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    elsewhere.objects.create(pod)
    elsewhere.objects.until("Pod", any_ready, "the server outside", seconds=60, name="outside")
    return f"{elsewhere.objects.get('Pod', 'outside')['status']['podIP']}:8443"


@pytest.fixture(scope="module")
def listed(release: Release, elsewhere: Namespace) -> dict[str, Probe]:
    """The table's rows."""
    here, instance = release.namespace, "app.kubernetes.io/instance"
    return {
        **{component: Probe(here, labels(component), hidden=component in SERVED) for component in COMPONENTS},
        "none of the components": Probe(here, labels("another")),
        "stranger": Probe(here, {}),
        "client of the feature server": Probe(here, CLIENT),
        "gateway of another release": Probe(here, {**labels("gateway"), instance: "another"}),
        "stranger elsewhere": Probe(elsewhere, {}),
        "client's label elsewhere": Probe(elsewhere, CLIENT),
        "gateway's labels elsewhere": Probe(elsewhere, labels("gateway")),
    }


@pytest.fixture(scope="module")
def pods(listed: Mapping[str, Probe]) -> dict[str, str]:
    """The probe pods' names, by row."""
    return probes.start(listed)


@pytest.fixture(scope="module")
def targets(release: Release, outside: str) -> dict[str, str]:
    """The table's columns."""
    gateway = address(release, "gateway")
    service = release.namespace.objects.get("Service", f"{release.full}-gateway")["spec"]
    return {
        "gateway": f"{gateway}:8000",
        "metrics": f"{gateway}:9090",
        "server-metrics": f"{address(release, 'feature-server')}:9090",
        "service": f"{service['clusterIP']}:{service['ports'][0]['port']}",
        "feature-server": f"{address(release, 'feature-server')}:6566",
        "postgres": f"{address(release, 'postgres')}:5432",
        "redis": f"{address(release, 'redis')}:6379",
        "outside": outside,
        "names": f"{release.full}-gateway.{release.namespace.name}.svc.cluster.local",
    }


def labels(component: str) -> dict[str, str]:
    """What the release's policies know the component by."""
    return {
        "app.kubernetes.io/name": "feature-platform",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": component,
    }


def any_ready(seen: Mapping[str, Object]) -> bool:
    return any(map(is_ready, seen.values()))


def address(release: Release, component: str) -> str:
    """The address of one of the component's own pods; probes are never ready."""
    pods = release.namespace.of_component("Pod", component)
    return next(str(pod["status"]["podIP"]) for pod in pods if is_ready(pod))


def test_each_role_reaches_what_it_needs_and_nothing_else(
    listed: Mapping[str, Probe], pods: Mapping[str, str], targets: Mapping[str, str]
) -> None:
    table = probes.as_table(probes.reached(listed, pods, targets))
    assert table == ALLOWED, f"\n{probes.difference(table, ALLOWED)}"


@pytest.mark.parametrize("route", WRITES)
def test_a_client_of_the_feature_server_writes_nothing(
    release: Release, pods: Mapping[str, str], targets: Mapping[str, str], route: str
) -> None:
    before = online_bytes.hashes(release, pods["materialization"])
    order = {"url": f"http://{targets['feature-server']}{route}", "body": WRITES[route]}
    client = pods["client of the feature server"]
    said = release.namespace.exec(client, *in_pods.command("post"), stdin=json.dumps(order).encode())
    answer = json.loads(said)
    assert answer["status"] >= 400, answer
    assert online_bytes.hashes(release, pods["materialization"]) == before


def test_without_policies_everyone_reaches_everything(
    release: Release, listed: Mapping[str, Probe], pods: Mapping[str, str], targets: Mapping[str, str]
) -> None:
    """The control: an edge that is closed above is closed by a policy, and not by a probe that cannot connect."""
    release.upgrade(VALUES, MODEST, {"networkPolicy": {"enabled": False}})
    closed = {
        role: [target for target, is_open in answers.items() if not is_open]
        for role, answers in probes.reached(listed, pods, targets).items()
    }
    assert not any(closed.values()), closed
