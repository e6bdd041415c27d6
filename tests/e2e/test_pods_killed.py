"""What clients see while pods die, and what is there afterwards."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import online_bytes, outages
from tests.e2e.namespace import Namespace, is_ready, outcome, restarts
from tests.e2e.objects import Object
from tests.e2e.outages import Watch, crash, remove, retire, wait_until_gone, wait_until_whole, watching
from tests.e2e.release import Release, Values
from tests.e2e.sample_platform import GOLDEN, STRANGER, features_in_postgres, install_with_sample
from tests.e2e.toolbox import toolbox
from tests.e2e.traffic import PER_SECOND, Fault, Report, RightAnswers, traffic
from tests.offline import TABLES

MONTHS = ("2024-01-31", "2024-02-29")
CUSTOMERS = 12
READER, CLIENT = "reader", "client"
"""Pods that the policies let to the stores, and to the feature server."""
# How long an ingress goes on sending requests to a gateway that died without a word: the kubelet notices within a
# second, the API server tells, and the ingress controller takes up changes of endpoints every two seconds.
UNNOTICED_SECONDS = 5.0
# From the moment on at which a store or server that was away answers those whom its Service sends.
SERVED_SECONDS = 1.0
# Long enough to show that what came back stays.
AFTERWARDS_SECONDS = 3.0
REGISTRY_AGE_SECONDS = 60.0
# So slow that a moment between its first row and its last one is easy to find.
SLOW = "300m"

# As the chart has it: what serves must not be the first to starve on a machine that is busy with its own installation.
SERVING: Values = {
    component: {"resources": {"requests": {"cpu": "100m"}}} for component in ("gateway", "featureServer", "redis")
}

End = Callable[[Namespace, Object], None]


@dataclass(frozen=True)
class Platform:
    """A release with two months in Postgres, and for each what Postgres says is to be served, and Redis then holds."""

    release: Release
    features: Mapping[str, Mapping[str, Mapping[str, Any]]]
    held: Mapping[str, Mapping[str, str]]

    @property
    def shown(self) -> str:
        """The month that the online store shows."""
        views = self.release.client().get("/status").json()["feature_views"]
        ((watermark),) = {view["watermark"] for view in views.values()}
        return str(watermark)[:10]

    def pods(self, component: str) -> list[Object]:
        """The component's ready pods."""
        return [pod for pod in self.release.namespace.of_component("Pod", component) if is_ready(pod)]

    def hashes(self) -> dict[str, str]:
        """What Redis holds."""
        return online_bytes.hashes(self.release, READER)

    def materialization(self, job: str, month: str, cpu: str = "1") -> str:
        """Start a Job of the CronJob's template that shows `month`, on so much of a CPU; its name."""
        objects = self.release.namespace.objects
        spec = objects.get("CronJob", f"{self.release.full}-materialization")["spec"]["jobTemplate"]["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        container["command"] += [f"--as-of={month}", "--rollback"]
        container["resources"]["limits"]["cpu"] = cpu
        objects.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job}, "spec": spec})
        return job

    def tables(self) -> list[Object]:
        """How many rows each table of the offline store has, and a digest of them."""
        digest = "count(*) AS rows, sum(hashtextextended(held::text, 0))::text AS digest"
        return [self.release.sql(f"SELECT {digest} FROM offline.{table} AS held")[0] for table in TABLES]


@pytest.fixture(scope="module")
def platform(namespace: Namespace) -> Iterator[Platform]:
    release = Release(namespace)
    install_with_sample(release, len(MONTHS), SERVING)
    labels = {
        "app.kubernetes.io/name": "feature-platform",
        "app.kubernetes.io/instance": release.name,
        "app.kubernetes.io/component": "materialization",
    }
    client = {f"{release.full}-feature-server-client": "true"}
    with toolbox(namespace, READER, labels=labels), toolbox(namespace, CLIENT, labels=client):
        held: dict[str, Mapping[str, str]] = {}
        features = {month: features_in_postgres(release, f"{month}T00:00:00") for month in MONTHS}
        platform = Platform(release, features, held)
        for month in reversed(MONTHS):
            if platform.shown != month:
                namespace.job_succeeds(platform.materialization(f"undisturbed-{month}", month))
            held[month] = online_bytes.entities(platform.hashes())
        yield platform


@pytest.fixture
def right(platform: Platform) -> RightAnswers:
    """What Postgres says of some customers, and that nobody knows a stranger."""
    features = platform.features[platform.shown]
    users = [GOLDEN, *sorted(features)[:: len(features) // CUSTOMERS]]
    stranger = platform.release.client().get(f"/features/{STRANGER}")
    assert stranger.status_code == 404
    return {
        f"/features/{STRANGER}": (404, stranger.json()),
        **{f"/features/{user}": (200, {"user_id": user, "features": features[user]}) for user in users},
    }


@pytest.fixture
def computed(platform: Platform) -> RightAnswers:
    """What on-demand features of some customers are; of one it is unknown, as an input is."""
    features = platform.features[platform.shown]
    unknown = [user for user, row in features.items() if None in inputs(row)]
    return {
        f"/features/{user}?feature_service=churn_v2": (
            200, {"user_id": user, "features": {**features[user], **on_demand(features[user])}}
        )
        for user in [GOLDEN, min(features), max(features), *unknown[:1]]
    }  # fmt: skip


def inputs(row: Mapping[str, Any]) -> list[Any]:
    return [row[name] for name in ("monthly_fee", "watch_hours_30d", "unique_devices_30d")]


def on_demand(row: Mapping[str, Any]) -> dict[str, float | None]:
    """What the on-demand feature view says of a customer."""
    fee, hours, devices = inputs(row)
    known = None not in (fee, hours, devices)
    return {
        "fee_per_watch_hour": fee / hours if known and hours else None,
        "watch_hours_per_device": hours / devices if known and devices else None,
    }


def traffic_to(platform: Platform, right: RightAnswers) -> Any:
    return traffic(platform.release.namespace.cluster.ingress_url, platform.release.host, right)


def is_refusal(fault: Fault) -> bool:
    """Whether the answer says as a problem that a retry may help, and when."""
    headers = fault.headers
    is_problem = (fault.status, headers.get("content-type")) == (503, "application/problem+json")
    return is_problem and int(headers.get("retry-after", "0")) >= 1


def late(report: Report, watch: Watch) -> list[Fault]:
    """What failed although what it needs had been back for so long that it must not."""
    assert watch.returned is not None, "what the test ended never went away"
    return [fault for fault in report.failed if fault.sent_at > watch.returned + SERVED_SECONDS]


def nothing_lost(report: Report) -> None:
    assert (report.failed, report.wrong) == ([], []), str(report)


def test_a_gateway_that_is_asked_to_go_takes_no_request_with_it(platform: Platform, right: RightAnswers) -> None:
    namespace = platform.release.namespace
    gateways = platform.pods("gateway")
    with traffic_to(platform, right) as recording:
        retire(namespace, gateways[0])
        wait_until_whole(namespace, "gateway", gateways[0], len(gateways))
        wait_until_gone(namespace, gateways[0])
    nothing_lost(recording.report)


@pytest.mark.parametrize("end", [crash, remove])
def test_a_gateway_that_dies_costs_what_the_ingress_sends_it_before_it_knows(
    platform: Platform, right: RightAnswers, end: End
) -> None:
    """Of the requests of the moments until then, those that it had, or was given: its share. They got no answer, or
    one that blames the gateway's silence. None got a wrong answer, and the other gateways' requests right ones.
    """
    namespace = platform.release.namespace
    gateways = platform.pods("gateway")
    with traffic_to(platform, right) as recording:
        ended = time.time()
        end(namespace, gateways[0])
        wait_until_whole(namespace, "gateway", gateways[0], len(gateways))
        time.sleep(AFTERWARDS_SECONDS)
    report = recording.report
    assert not report.wrong, str(report)
    assert {fault.status for fault in report.failed} <= {None, 502, 504}, str(report)
    assert all(ended - 1 < fault.sent_at < ended + UNNOTICED_SECONDS for fault in report.failed), str(report)
    assert len(report.failed) <= UNNOTICED_SECONDS * PER_SECOND / len(gateways), str(report)


@pytest.mark.parametrize("end", [crash, remove])
def test_without_redis_all_is_503_and_with_it_right_again_within_a_second(
    platform: Platform, right: RightAnswers, end: End
) -> None:
    namespace, held = platform.release.namespace, platform.hashes()
    (redis,) = platform.pods("redis")
    with (
        watching(namespace, f"{platform.release.full}-redis:6379", READER) as watch,
        traffic_to(platform, right) as recording,
    ):
        end(namespace, redis)
        wait_until_whole(namespace, "redis", redis, 1)
        time.sleep(AFTERWARDS_SECONDS)
    report = recording.report
    assert not report.wrong, str(report)
    assert report.failed, "nobody missed Redis, which shows nothing"
    assert all(map(is_refusal, report.failed)), str(report)
    assert late(report, watch) == [], str(report)
    assert platform.hashes() == held


def test_the_feature_server_that_dies_is_missed_by_those_who_need_it_alone(
    platform: Platform, right: RightAnswers, computed: RightAnswers
) -> None:
    namespace = platform.release.namespace
    (server,) = platform.pods("feature-server")
    needed = {path for path, (_, answer) in computed.items() if None not in inputs(answer["features"])}
    with (
        watching(namespace, f"{platform.release.full}-feature-server:6566", CLIENT) as watch,
        traffic_to(platform, {**right, **computed}) as recording,
    ):
        crash(namespace, server)
        wait_until_whole(namespace, "feature-server", server, 1)
        time.sleep(AFTERWARDS_SECONDS)
    report = recording.report
    assert not report.wrong, str(report)
    assert report.failed, "nobody missed the feature server, which shows nothing"
    assert {fault.path for fault in report.failed} <= needed, str(report)
    assert all(map(is_refusal, report.failed)), str(report)
    assert late(report, watch) == [], str(report)


def test_postgres_away_for_longer_than_a_registry_is_believed_is_missed_by_jobs_alone(
    platform: Platform, right: RightAnswers, computed: RightAnswers
) -> None:
    """Meanwhile a gateway starts, too, and the Job that waits for Postgres succeeds when it is back."""
    namespace, tables = platform.release.namespace, platform.tables()
    (postgres,), (server,), gateways = map(platform.pods, ("postgres", "feature-server", "gateway"))
    scaled = f"{platform.release.full}-postgres"
    with traffic_to(platform, {**right, **computed}) as recording:
        namespace.objects.patch("StatefulSet", scaled, {"spec": {"replicas": 0}})
        wait_until_gone(namespace, postgres)
        left = time.monotonic()
        job = platform.materialization("in-the-outage", platform.shown)
        retire(namespace, gateways[0])
        wait_until_whole(namespace, "gateway", gateways[0], len(gateways))
        time.sleep(max(0.0, left + REGISTRY_AGE_SECONDS + AFTERWARDS_SECONDS - time.monotonic()))
        namespace.objects.patch("StatefulSet", scaled, {"spec": {"replicas": 1}})
        namespace.job_succeeds(job)
    nothing_lost(recording.report)
    assert [restarts(pod) for pod in platform.pods("feature-server")] == [restarts(server)]
    assert platform.tables() == tables


@pytest.mark.parametrize(("component", "exit_code"), [("materialization", 137), ("postgres", 1)])
def test_a_materialization_that_is_cut_off_is_tried_again_by_its_job_and_ends_right(
    platform: Platform, component: str, exit_code: int
) -> None:
    namespace, tables = platform.release.namespace, platform.tables()
    (month,) = set(MONTHS) - {platform.shown}
    job = platform.materialization(f"without-{component}", month, cpu=SLOW)
    first = outages.running_pod(namespace, job)
    outages.wait_for_log(namespace, first, '"event": "filled"')
    crash(namespace, first if component == "materialization" else platform.pods(component)[0])
    wait_until_gone(namespace, first)
    assert online_bytes.entities(platform.hashes()) not in platform.held.values(), "it was not cut off half-way"
    assert outcome(namespace.wait_for_job(job, seconds=180)) == "Complete"
    assert exit_codes(namespace.job_pods(job)) == [exit_code, 0]
    assert online_bytes.entities(platform.hashes()) == platform.held[month]
    assert platform.shown == month
    assert platform.tables() == tables


def exit_codes(pods: list[Object]) -> list[int]:
    """Of the pods of a Job, in the order of their creation."""
    in_order = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in in_order]
