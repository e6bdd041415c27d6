"""Metrics as they are read: by the bundled Prometheus, and by one of the Prometheus operator.

The operator and its Prometheus, which selects what is labelled `release: monitoring`, are installed by CLUSTER_KIT
where that is; elsewhere they have to be there. E2E_PROMETHEUS=NAMESPACE/NAME is that Prometheus' Service.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e import in_pods
from tests.e2e.cluster import REPOSITORY, Cluster
from tests.e2e.commands import CommandError
from tests.e2e.namespace import Namespace, component_selector, is_ready
from tests.e2e.objects import Object
from tests.e2e.prometheus import Prometheus, reached
from tests.e2e.release import MODEST, Release, Values

OPERATED_NAMESPACE, OPERATED = os.environ.get("E2E_PROMETHEUS", "monitoring/prometheus-operated").split("/")
CRD = "customresourcedefinition/servicemonitors.monitoring.coreos.com"
VALUES: Values = {
    "postgres": {"exporter": {"enabled": True}},
    "redis": {"exporter": {"enabled": True}},
    "prometheus": {"enabled": True, "scrapeInterval": "5s"},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "monitoring"}, "interval": "5s"},
        "prometheusRule": {"enabled": True, "labels": {"release": "monitoring"}},
    },
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": OPERATED_NAMESPACE}}}]
    },
}
GATEWAYS = 2
RULES_SECONDS = 180.0  # the kubelet hands a changed ConfigMap on within a minute or two
AS_EXPORTER = 'REDISCLI_AUTH="$(cat)" exec redis-cli --user exporter '
IN_POSTGRES = "exec psql -X -q -A -t -h 127.0.0.1 -d feature_platform -c 'SELECT 1' "


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> None:
    """The Prometheus operator."""
    kit = REPOSITORY / os.environ.get("CLUSTER_KIT", "../shared/kindkit/kindkit")
    if kit.exists():
        cluster.run(kit, "monitoring")
    cluster.run("kubectl", "get", CRD)


@pytest.fixture(scope="module")
def release(operator: None, namespace: Namespace) -> Release:
    """Read in both ways, the stores too."""
    release = Release(namespace)
    release.install(MODEST, VALUES)
    return release


@pytest.fixture(scope="module")
def jobs(release: Release) -> list[str]:
    return [f"{release.full}-{part}-metrics" for part in ("gateway", "feature-server", "postgres", "redis")]


@pytest.fixture(scope="module")
def bundled(release: Release) -> Iterator[Prometheus]:
    with reached(release.namespace, f"{release.full}-prometheus") as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def operated(release: Release) -> Iterator[Prometheus]:
    with reached(Namespace(release.namespace.cluster, OPERATED_NAMESPACE), OPERATED) as prometheus:
        yield prometheus


def password(release: Release, secret: str) -> bytes:
    return base64.b64decode(release.namespace.objects.get("Secret", f"{release.full}-{secret}")["data"]["password"])


def test_the_bundled_prometheus_reads_every_pod_of_the_four_jobs(
    bundled: Prometheus, release: Release, jobs: list[str]
) -> None:
    targets = bundled.wait_until_up(jobs)
    assert sorted(target["labels"]["job"] for target in targets) == sorted([*jobs, *jobs[:1] * (GATEWAYS - 1)])
    for target in targets:
        assert target["labels"].keys() == {"job", "namespace", "instance"}
        assert target["labels"]["namespace"] == release.namespace.name


@pytest.mark.parametrize(
    "expression",
    [
        "feature_gateway_build_info",
        "feast_feature_server_cpu_usage",
        "pg_up == 1",
        'pg_database_size_bytes{datname="feature_platform"} > 0',
        'pg_stat_user_tables_n_live_tup{schemaname="offline"}',
        "pg_settings_max_connections > 0",
        "redis_up == 1",
        "redis_memory_max_bytes > 0",
    ],
)
def test_each_part_says_of_itself_what_it_knows(bundled: Prometheus, expression: str) -> None:
    bundled.wait_until(expression, expression)


def test_the_bundled_prometheus_evaluates_the_rules_without_an_error(bundled: Prometheus) -> None:
    bundled.wait_until("ALERTS", "an alert that always fires")
    rules = bundled.rules()
    assert rules
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


def test_the_operators_prometheus_reads_the_same_under_the_same_names(
    operated: Prometheus, release: Release, jobs: list[str]
) -> None:
    targets = operated.wait_until_up(jobs)
    assert sorted(target["labels"]["job"] for target in targets) == sorted([*jobs, *jobs[:1] * (GATEWAYS - 1)])
    assert {target["labels"]["namespace"] for target in targets} == {release.namespace.name}


def test_the_operators_prometheus_evaluates_the_same_rules(
    operated: Prometheus, bundled: Prometheus, release: Release
) -> None:
    def own(prometheus: Prometheus) -> set[tuple[str, str]]:
        found = [rule for rule in prometheus.rules() if release.namespace.name in rule["query"]]
        assert [(rule["name"], rule["lastError"]) for rule in found if rule["health"] == "err"] == []
        return {(rule["name"], rule["query"]) for rule in found}

    watchdog = f'ALERTS{{alertname="Watchdog",namespace="{release.namespace.name}"}}'
    operated.wait_until(watchdog, "the operator's Prometheus to have the rules", seconds=RULES_SECONDS)
    assert own(operated) == own(bundled)
    assert len(own(operated)) > 20


@pytest.mark.parametrize("command", ["HGETALL x", "HSET x a b", "SCAN 0", "CONFIG GET *", "ACL LIST", "SLOWLOG GET"])
def test_redis_exporter_may_ask_for_info_alone(release: Release, command: str) -> None:
    def said(command: str) -> bytes:
        secret = password(release, "redis-exporter")
        return release.namespace.exec(f"{release.full}-redis-0", "sh", "-c", AS_EXPORTER + command, stdin=secret)

    assert b"redis_version" in said("INFO server")
    assert b"NOPERM" in said(command.replace("*", "'*'"))


def test_postgres_exporter_reads_statistics_and_no_row(release: Release) -> None:
    exporter = "feature_platform_exporter"
    granted = release.sql(
        f"""SELECT rolname FROM pg_roles WHERE pg_has_role('{exporter}', oid, 'MEMBER')
             AND rolname IN ('pg_monitor', 'pg_read_all_data', 'feature_platform_owner', 'feature_platform_ingest',
                             'feature_platform_training_set', 'feature_platform_materialize')"""
    )
    assert granted == [{"rolname": "pg_monitor"}]
    tables = release.sql(
        f"""SELECT count(*) AS all, count(*) FILTER (WHERE has_table_privilege('{exporter}', relid, 'SELECT')) AS read
              FROM pg_stat_user_tables"""
    )
    assert tables[0]["all"] > 0
    assert tables[0]["read"] == 0


def test_beside_the_exporter_postgres_trusts_nobody_on_its_loopback(release: Release) -> None:
    def ask(command: str, stdin: bytes = b"") -> bytes:
        return release.namespace.exec(f"{release.full}-postgres-0", "sh", "-c", command, stdin=stdin)

    with pytest.raises(CommandError, match="no password supplied"):
        ask(f"{IN_POSTGRES} -w -U postgres")
    login = f'PGPASSWORD="$(cat)" {IN_POSTGRES} -U feature_platform_exporter'
    assert ask(login, password(release, "postgres-exporter")) == b"1\n"


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_a_store_is_reached_while_its_exporter_fails(release: Release, store: str) -> None:
    def fails(seen: Mapping[str, Object]) -> bool:
        return any(containers(pod) == {store: True, "exporter": False} and not is_ready(pod) for pod in seen.values())

    release.upgrade(MODEST, VALUES, broken(store), wait=False)
    release.namespace.objects.until(
        "Pod", fails, "a store whose exporter fails", seconds=120, selector=component_selector(store)
    )
    port = {"postgres": 5432, "redis": 6379}[store]
    client = release.namespace.of_component("Pod", "feature-server")[0]["metadata"]["name"]
    order = json.dumps({store: f"{release.full}-{store}:{port}"}).encode()
    assert json.loads(release.namespace.exec(client, *in_pods.command("reach"), stdin=order)) == {store: True}


def broken(store: str) -> dict[str, Any]:
    """Values of an exporter that never starts."""
    return {store: {"exporter": {"image": {"tag": "missing", "pullPolicy": "Never"}}}}


def containers(pod: Object) -> dict[str, bool]:
    """Which containers are ready."""
    return {status["name"]: status["ready"] for status in pod["status"].get("containerStatuses") or []}
