"""What clients see while pods die, and what is there afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.e2e.answers import for_traffic
from tests.e2e.namespace import Namespace, outcome, restarts
from tests.e2e.objects import Object
from tests.e2e.outages import (
    Watch,
    crash,
    remove,
    retire,
    running_pod,
    wait_until_gone,
    wait_until_whole,
    watching,
)
from tests.e2e.sample_platform import GOLDEN, STRANGER
from tests.e2e.traffic import PER_SECOND, Fault, Recording, Report, RightAnswers, traffic
from tests.e2e.two_months import CLIENT, HALFWAY, READER, TwoMonths, on_demand_features, on_demand_inputs, two_months

# How long an ingress goes on sending requests to a gateway that died without a word: the kubelet notices within a
# second, the API server tells, and the ingress controller takes up changes of endpoints every two seconds.
UNNOTICED_SECONDS = 5.0
# From the moment on at which a store or server that was away answers those whom its Service sends.
SERVED_SECONDS = 1.0
# Long enough to show that what came back stays.
AFTERWARDS_SECONDS = 3.0
REGISTRY_AGE_SECONDS = 60.0
UNKNOWN = {
    "type": "urn:feature-platform:problem:unknown-entity", "title": "Unknown entity", "status": 404,
    "detail": f"The online store holds no features of user_id '{STRANGER}'.",
}  # fmt: skip

End = Callable[[Namespace, Object], None]


@pytest.fixture(scope="module")
def platform(namespace: Namespace) -> Iterator[TwoMonths]:
    with two_months(namespace) as started:
        yield started


@pytest.fixture
def right(platform: TwoMonths) -> RightAnswers:
    """What Postgres says of some customers, and that nobody knows a stranger."""
    return {f"/features/{STRANGER}": (404, UNKNOWN), **for_traffic(platform.features[platform.shown])}


@pytest.fixture
def computed(platform: TwoMonths) -> RightAnswers:
    """What on-demand features of some customers are; of one it is unknown, as an input is."""
    features = platform.features[platform.shown]
    unknown = [user for user, row in features.items() if None in on_demand_inputs(row)]
    return {
        f"/features/{user}?feature_service=churn_v2": (
            200, {"user_id": user, "features": {**features[user], **on_demand_features(features[user])}}
        )
        for user in [GOLDEN, min(features), max(features), *unknown[:1]]
    }  # fmt: skip


def traffic_to(platform: TwoMonths, right: RightAnswers) -> AbstractContextManager[Recording]:
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


def test_a_gateway_that_is_asked_to_go_takes_no_request_with_it(platform: TwoMonths, right: RightAnswers) -> None:
    namespace = platform.release.namespace
    gateways = platform.pods("gateway")
    with traffic_to(platform, right) as recording:
        retire(namespace, gateways[0])
        wait_until_whole(namespace, "gateway", gateways[0], len(gateways))
        wait_until_gone(namespace, gateways[0])
    nothing_lost(recording.report)


@pytest.mark.parametrize("end", [crash, remove])
def test_a_gateway_that_dies_costs_what_the_ingress_sends_it_before_it_knows(
    platform: TwoMonths, right: RightAnswers, end: End
) -> None:
    """The requests that it had, and its share of those until the ingress knows: they get no answer, or 502 or 504."""
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
    platform: TwoMonths, right: RightAnswers, end: End
) -> None:
    namespace, held = platform.release.namespace, platform.redis()
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
    assert platform.redis() == held


def test_the_feature_server_that_dies_is_missed_by_those_who_need_it_alone(
    platform: TwoMonths, right: RightAnswers, computed: RightAnswers
) -> None:
    namespace = platform.release.namespace
    (server,) = platform.pods("feature-server")
    needed = {path for path, (_, answer) in computed.items() if None not in on_demand_inputs(answer["features"])}
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
    platform: TwoMonths, right: RightAnswers, computed: RightAnswers
) -> None:
    """Meanwhile a gateway starts, too, and the Job that waits for Postgres succeeds when it is back."""
    namespace, rows = platform.release.namespace, platform.held().rows
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
    assert platform.held().rows == rows


@pytest.mark.parametrize(("component", "exit_code"), [("materialization", 137), ("postgres", 1)])
def test_a_materialization_that_is_cut_off_is_tried_again_by_its_job_and_ends_right(
    platform: TwoMonths, component: str, exit_code: int
) -> None:
    namespace, rows = platform.release.namespace, platform.held().rows
    month, (postgres,) = platform.other, platform.pods("postgres")
    job = platform.materialization(f"without-{component}", month, flags=[HALFWAY])
    first = running_pod(namespace, job)
    platform.wait_until_halfway()
    crash(namespace, first if component == "materialization" else postgres)
    wait_until_gone(namespace, first)
    assert platform.held().online not in platform.online.values(), "it was not cut off half-way"
    assert outcome(namespace.wait_for_job(job, seconds=180)) == "Complete"
    assert exit_codes(namespace.job_pods(job)) == [exit_code, 0]
    assert (platform.held().online, platform.shown) == (platform.online[month], month)
    assert platform.held().rows == rows


def exit_codes(pods: list[Object]) -> list[int]:
    """Of the pods of a Job, in the order of their creation."""
    in_order = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in in_order]
