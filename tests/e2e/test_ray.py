"""The release's own Ray cluster: the bytes that one pod alone writes, also when a worker goes, and who may reach it."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e import probes
from tests.e2e.namespace import Namespace
from tests.e2e.objects import Object
from tests.e2e.outages import remove, retire, wait_until_whole
from tests.e2e.probes import Probe
from tests.e2e.release import MODEST, Values
from tests.e2e.sample_platform import sample_values
from tests.e2e.two_months import HALFWAY, MONTHS, SERVING, TwoMonths, two_months

WORKERS = 2
MODEST_POD = {"resources": {"requests": {"cpu": "10m"}}}
RAY: Values = {"ray": {"enabled": True, "head": MODEST_POD, "worker": {"replicas": WORKERS, **MODEST_POD}}}
RUN_SECONDS = 240.0
ENGINES = (
    "SELECT arguments->>'engine' AS engine FROM ledger.runs WHERE job = 'materialize' ORDER BY run_id DESC LIMIT 1"
)

ALLOWED = """
                 client  gcs  head's node  worker's node  postgres  redis
materialization  yes     -    -            -              yes       yes
ray-head         -       yes  yes          yes            -         -
ray-worker       -       yes  yes          yes            yes       yes
stranger         -       -    -            -              -         -
""".strip("\n")
"""`client` and `gcs` are the head's doors for drivers and for nodes; `node` is a raylet."""

End = Callable[[Namespace, Object], None]


@pytest.fixture(scope="module")
def platform(namespace: Namespace) -> Iterator[TwoMonths]:
    """Each month was shown once by a pod alone; then comes Ray."""
    with two_months(namespace) as started:
        release = started.release
        release.upgrade(MODEST, release.ingress_values, sample_values(len(MONTHS)), SERVING, RAY)
        yield started


@pytest.mark.parametrize("run", MONTHS)
def test_workers_write_the_bytes_that_one_pod_writes(platform: TwoMonths, run: str) -> None:
    month = platform.other
    platform.release.namespace.job_succeeds(platform.materialization(f"on-ray-{run}", month), RUN_SECONDS)
    assert platform.release.sql(ENGINES) == [{"engine": "ray"}]
    assert (platform.held().online, platform.shown) == (platform.online[month], month)


@pytest.mark.parametrize("end", [retire, remove])
def test_a_worker_that_goes_in_the_middle_costs_its_partitions_another_try(platform: TwoMonths, end: End) -> None:
    namespace, month, workers = platform.release.namespace, platform.other, platform.pods("ray-worker")
    job = platform.materialization(f"worker-{end.__name__}", month, flags=[HALFWAY])
    platform.wait_until_halfway()
    end(namespace, workers[0])
    wait_until_whole(namespace, "ray-worker", workers[0], WORKERS)
    namespace.job_succeeds(job, RUN_SECONDS)
    assert len(namespace.job_pods(job)) == 1, "the Job had to try again"
    assert (platform.held().online, platform.shown) == (platform.online[month], month)


def test_each_role_reaches_what_it_needs_and_nothing_else(platform: TwoMonths) -> None:
    namespace = platform.release.namespace
    labels = {"app.kubernetes.io/name": "feature-platform", "app.kubernetes.io/instance": platform.release.name}
    component = "app.kubernetes.io/component"
    listed = {
        "materialization": Probe(namespace, {**labels, component: "materialization"}),
        "ray-head": Probe(namespace, {**labels, component: "ray-head"}, hidden=True),
        "ray-worker": Probe(namespace, {**labels, component: "ray-worker"}),
        "stranger": Probe(namespace, {}),
    }
    addresses = {
        role: platform.pods(role)[0]["status"]["podIP"] for role in ("ray-head", "ray-worker", "postgres", "redis")
    }
    targets = {
        "client": f"{addresses['ray-head']}:10001",
        "gcs": f"{addresses['ray-head']}:6379",
        "head's node": f"{addresses['ray-head']}:6380",
        "worker's node": f"{addresses['ray-worker']}:6380",
        "postgres": f"{addresses['postgres']}:5432",
        "redis": f"{addresses['redis']}:6379",
    }
    table = probes.as_table(probes.reached(listed, probes.start(listed), targets))
    assert table == ALLOWED, f"\n{probes.difference(table, ALLOWED)}"
