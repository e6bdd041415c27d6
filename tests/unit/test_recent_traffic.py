"""The last minute's traffic, from the counts that the metrics are made of."""

import pytest

from api import routes
from api.distribution import BUCKETS, quantile
from api.metrics import Metrics
from api.recent_traffic import INTERVAL, READS, RecentTraffic


class Clock:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def traffic() -> tuple[Metrics, Clock, RecentTraffic]:
    metrics, clock = Metrics(), Clock()
    return metrics, clock, RecentTraffic(metrics, clock)


def test_before_anything_was_asked_there_is_no_share_and_no_latency() -> None:
    _, _, recent = traffic()
    assert recent.document() == {
        "seconds": 0.0, "requests": 0, "requests_per_second": 0.0, "failed_share": None, "p50_ms": None, "p99_ms": None,
    }  # fmt: skip


def test_rate_share_and_latency_are_of_what_was_asked_since_the_start() -> None:
    metrics, clock, recent = traffic()
    for code in (200, 200, 404, 503):
        metrics.request("/features/{id}", "GET", code, 0.004)
    clock.now += 2
    told = recent.document()
    assert (told["seconds"], told["requests"], told["requests_per_second"]) == (2.0, 4, 2.0)
    assert told["failed_share"] == 0.25, "404 is an answer"
    assert (told["p50_ms"], told["p99_ms"]) == (3.75, 4.975)


def test_what_is_older_than_a_minute_is_forgotten_and_nothing_younger() -> None:
    metrics, clock, recent = traffic()
    for second in range(0, 300, 5):
        metrics.request("/features", "POST", 200, 0.001)
        clock.now += INTERVAL
        recent.look()
        told = recent.document()
        assert told["requests"] == min(second // 5 + 1, 11)
        assert told["seconds"] <= 60
    assert told["seconds"] == 55
    clock.now += 4.9
    assert recent.document()["seconds"] == 59.9


def test_only_calls_that_read_features_count() -> None:
    metrics, clock, recent = traffic()
    for _, path, _ in routes.ROUTES:
        metrics.request(path, "GET", 500, 1.0)
    metrics.request("/features", "GET", 405, 1.0)
    clock.now += 1
    assert recent.document()["requests"] == 0


def test_every_call_that_reads_features_counts() -> None:
    assert {(path, method) for method, path, _ in routes.READS} == READS


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({}, 0.5, None),
        ({0: 10}, 0.5, BUCKETS[0] / 2),
        ({0: 50, 2: 50}, 0.5, BUCKETS[0]),
        ({0: 50, 2: 50}, 0.75, (BUCKETS[1] + BUCKETS[2]) / 2),
        ({0: 99, 13: 1}, 0.99, BUCKETS[0]),
        ({0: 90, 13: 10}, 0.99, BUCKETS[-1]),
        ({13: 1}, 0.5, BUCKETS[-1]),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket_as_prometheus_does(
    counts: dict[int, int], share: float, expected: float | None
) -> None:
    assert quantile([counts.get(number, 0) for number in range(len(BUCKETS) + 1)], share) == pytest.approx(expected)
