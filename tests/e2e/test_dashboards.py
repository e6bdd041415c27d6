"""What the dashboards ask is answered by a live Prometheus after a minute of traffic, and what they say is true."""

import math
from collections.abc import Iterator

import httpx
import pytest

from tests.bench.load import drive
from tests.bench.tally import Tally
from tests.dashboards import QUIET, Query, panels
from tests.e2e.commands import WaitError
from tests.e2e.namespace import Namespace
from tests.e2e.prometheus import Prometheus, Sample, reached
from tests.e2e.release import MODEST, Release, Values
from tests.e2e.sample_platform import (
    GOLDEN,
    STRANGER,
    materialize,
    sample_values,
    wait_for_sample,
    wait_until_served,
)

VALUES: Values = {
    "postgres": {"exporter": {"enabled": True}},
    "redis": {"exporter": {"enabled": True}},
    "prometheus": {"enabled": True, "scrapeInterval": "5s"},
}
JANUARY = "2024-01-31"
# Longer than the minute that a rate looks back, so that the load lasts as long as what is asked about.
PER_SECOND, SECONDS = 40, 90
WITHIN = 0.05
READS = 'namespace="{0.namespace.name}",job="{0.full}-gateway-metrics",route="/features/{{id}}",method="GET"'


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Release:
    """February is served, and January was before."""
    release = Release(namespace)
    release.install(MODEST, release.ingress_values, sample_values(2), VALUES)
    wait_for_sample(release)
    first = ["python", "-m", "jobs.materialize", f"--as-of={JANUARY}"]
    namespace.job_succeeds(namespace.create_job_like(f"{release.full}-materialization", "january", first))
    materialize(release)
    wait_until_served(release)
    return release


@pytest.fixture(scope="module")
def prometheus(release: Release) -> Iterator[Prometheus]:
    with reached(release.namespace, f"{release.full}-prometheus") as prometheus:
        prometheus.wait_until_up([f"{release.full}-{of}-metrics" for of in ("gateway", "feature-server", "redis")])
        yield prometheus


@pytest.fixture(scope="module")
def load(release: Release, prometheus: Prometheus) -> Tally:
    """Single reads at a steady rate; before and after them, once each series is known, the other calls."""
    seen = f"feature_gateway_http_requests_total{{{READS.format(release)}}}"
    with release.client() as gateway:
        every_call(gateway)
        prometheus.wait_until(seen, "the first reads to be seen")
        tally = drive(release.namespace.cluster.ingress_url, PER_SECOND, SECONDS, host=release.host)
        every_call(gateway)
    return tally


def every_call(gateway: httpx.Client) -> None:
    """Each way to read features, and an entity that is unknown."""
    asked = {"entities": {"user_id": [GOLDEN, STRANGER]}}
    for answer in (
        gateway.get(f"/features/{GOLDEN}?feature_service=churn_v2"),
        gateway.post("/features", json=asked),
        gateway.post("/get-online-features", json=asked | {"feature_service": "churn_v1"}),
    ):
        assert answer.status_code == 200, answer.text
    assert gateway.get(f"/features/{STRANGER}").status_code == 404


def test_every_panel_has_something_to_show(release: Release, prometheus: Prometheus, load: Tally) -> None:
    empty = list[Query]()
    for query in panels(release.namespace.name, release.full):
        try:
            prometheus.wait_until(query.expr, query.title, shows, seconds=0 if query.title in QUIET else 20)
        except WaitError:
            empty.append(query)
    assert [query for query in empty if query.title not in QUIET] == []


def shows(samples: list[Sample]) -> bool:
    """Whether there is a figure; a rate of nothing by nothing is none."""
    return any(not math.isnan(sample.value) for sample in samples)


def test_what_was_sent_is_what_is_counted(release: Release, prometheus: Prometheus, load: Tally) -> None:
    assert load.answers == load.sent == PER_SECOND * SECONDS
    counted = f"sum(feature_gateway_http_requests_total{{{READS.format(release)}}})"
    # Beside the load: the two times two of `every_call`, and what waited for the first answer.
    (total,) = prometheus.wait_until(counted, "all reads to be counted", lambda seen: seen[0].value >= load.sent)
    assert total.value == pytest.approx(load.sent, rel=WITHIN)


def test_the_rates_of_the_dashboard_are_those_of_the_load(
    release: Release, prometheus: Prometheus, load: Tally
) -> None:
    asked = rates("What is asked?", release)
    answered = rates("What is answered?", release)
    at = load.ended_at - 1
    (reads,) = [one for one in prometheus.query(asked.expr, at) if one.labels["route"] == "/features/{id}"]
    assert reads.value == pytest.approx(load.sent / (load.ended_at - load.started_at), rel=WITHIN)
    for code, latencies in load.answered.items():
        (share,) = [one for one in prometheus.query(answered.expr, at) if one.labels["code"] == str(code)]
        assert share.value == pytest.approx(len(latencies) / SECONDS, rel=WITHIN, abs=1)


def rates(title: str, release: Release) -> Query:
    """The one query of this panel."""
    (query,) = [one for one in panels(release.namespace.name, release.full) if one.title == title]
    return query
