"""What the dashboards ask is PromQL, of one release alone, and of metrics and labels that live processes export."""

import json
import re
import subprocess
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
import redis

from jobs.local.servers import PostgresServer, RedisServer
from tests import gateway_support as support
from tests.conftest import REPOSITORY
from tests.dashboards import Query, panels
from tests.rules import promtool
from tests.rules.exporters import postgres_metrics, redis_metrics

NAMESPACE, NAME = "features", "streamflow-feature-platform"
QUERIES = panels(NAMESPACE, NAME)
JOBS = {f"{NAME}-{part}-metrics" for part in ("gateway", "feature-server", "redis", "postgres")}
CLAIMS = f"data-{NAME}-(postgres|redis)-0|{NAME}-training-sets"
each_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.title}")
SELECTOR = re.compile(r'([a-zA-Z_:]\w*)\{((?:\w+(?:=~|!~|!=|=)"[^"]*",?)+)\}')
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
# A line of what a process exports. prometheus_client's own parser names counters as they should be called.
SAMPLE = re.compile(r"^([a-zA-Z_:]\w*)(?:\{(.*)\})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
# What no process of the platform exports, and who does.
OTHERS: dict[str, set[str]] = {
    "up": set(),  # Prometheus itself, for each scrape
    "kubelet_volume_stats_used_bytes": {"persistentvolumeclaim"},  # the kubelet, which only a cluster has
    "kubelet_volume_stats_capacity_bytes": {"persistentvolumeclaim"},
}
# Prometheus adds them to every series.
ADDED = {"namespace", "job", "instance"}
# Feast's own counting, in a process of its own: it would change how this one's metrics are kept.
FEAST = """
from feast import metrics
from prometheus_client import generate_latest
metrics._config = metrics.build_metrics_flags()
with metrics.track_request_latency("/get-online-features"):
    pass
print(generate_latest().decode())
"""

Labels: TypeAlias = dict[str, set[str]]


def test_every_query_is_promql() -> None:
    rules = [{"record": f"query:{number}", "expr": query.expr} for number, query in enumerate(QUERIES)]
    files = {"queries.yaml": json.dumps({"groups": [{"name": "queries", "rules": rules}]})}
    assert f"{len(QUERIES)} rules found" in promtool.run("check", "rules", "queries.yaml", files=files)


def test_what_is_no_promql_is_refused() -> None:
    files = {"rules.yaml": json.dumps({"groups": [{"name": "a", "rules": [{"record": "a", "expr": "sum(a"}]}]})}
    with pytest.raises(promtool.Refused, match="unclosed left parenthesis"):
        promtool.run("check", "rules", "rules.yaml", files=files)


@each_query
def test_a_query_reads_series_of_the_chosen_release_alone(query: Query) -> None:
    selected = selectors(query)
    assert selected, query.expr
    for metric, matchers in selected:
        assert ("namespace", "=", NAMESPACE) in matchers, query.expr
        if metric.startswith("kubelet_"):
            assert ("persistentvolumeclaim", "=~", CLAIMS) in matchers
        else:
            assert [one for one in matchers if one[0] == "job" and one[1] == "=" and one[2] in JOBS]


@each_query
def test_a_query_reads_metrics_and_labels_that_are_exported(query: Query, exported: Labels) -> None:
    known: set[str] = set()
    for metric, matchers in selectors(query):
        assert metric in exported, f"{metric} is exported by nobody"
        labels = exported[metric] | ADDED
        assert {label for label, _, _ in matchers} <= labels, f"{metric} has the labels {sorted(labels)}"
        known |= labels
    grouped = {label.strip() for labels in GROUPING.findall(query.expr) for label in labels.split(",")}
    assert grouped <= known, query.expr


@pytest.fixture(scope="module")
def exported(
    postgres_server: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Labels:
    """The labels of every metric, as a gateway, Feast's server and the exporters of real stores tell."""
    feast = subprocess.run([sys.executable, "-c", FEAST], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    texts = (
        gateway_metrics(redis_server, tmp_path_factory.mktemp("gateway") / "log"),
        feast.stdout,
        redis_metrics(redis_server),
        postgres_metrics(postgres_server, "postgres"),
    )
    labels = defaultdict(set, {name: set(found) for name, found in OTHERS.items()})
    for text in texts:
        for metric, said in SAMPLE.findall(text):
            labels[metric] |= set(LABEL.findall(said))
    return dict(labels)


def gateway_metrics(server: RedisServer, log: Path) -> str:
    """What a gateway tells after a few requests, of a store that runs were made on."""
    client = redis.Redis(host=server.host, port=server.port, password=server.password)
    client.flushall()
    support.seed(client)
    then = (support.NOW - timedelta(days=1)).isoformat()
    entry = {"watermark": then, "rows": 2, "previous_rows": 3, "started_at": then, "finished_at": then}
    client.hset(f"feature-platform:{support.PROJECT}:status", "profile", json.dumps(entry))
    ended = {"finished_at": then, "exit_code": 0, "summary": None}
    support.show_runs(client, {then: ended, support.NOW.isoformat(): {}})
    environment = {
        "FEATURE_PLATFORM_PROJECT": support.PROJECT,
        "FEATURE_PLATFORM_REDIS_TYPE": "redis",
        support.CONNECTION: server.connection_string,
    }
    with support.gateway_process(log, **environment) as gateway:
        gateway.wait_ready()
        for path in ("/features/u1", "/features/nobody", "/features/u1?feature_service=computed"):
            gateway.http.get(path)
        return httpx.get(f"{gateway.metrics_url}/metrics").text


def selectors(query: Query) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each metric of a query with its matchers: label, operator, value."""
    return [(metric, MATCHER.findall(matchers)) for metric, matchers in SELECTOR.findall(query.expr)]
