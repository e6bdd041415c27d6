"""A materialization on a real Ray cluster of several nodes ends in the bytes of one in a single process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from ray.cluster_utils import Cluster

from jobs.process import free_port
from tests.bytes_redis import BytesRedis
from tests.conftest import REPOSITORY
from tests.defined_views import create, define, insert, view_over
from tests.faults.test_materialize_interrupted import CUSTOMERS, fill, wait_for_entities
from tests.offline import JANUARY, MARCH, OfflineStore, dump

ENDS_WITHIN_SECONDS = 120.0
STOPS_WITHIN_SECONDS = 10.0
# By then it looks for a cluster that is not there, and for half a minute.
LOOKS_SECONDS = 12.0
OBJECT_STORE_BYTES = 100 * 2**20


@pytest.fixture
def cluster(platform: OfflineStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that takes no task, and two nodes of one CPU; their processes know this test's stores.

    It is reached as from another pod, by Ray's client.
    """
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # As in the chart: without it the client server fails now and then to start what a connection needs.
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    port = free_port()
    head = {
        "num_cpus": 0,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "ray_client_server_port": port,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{port}")
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def months(platform: OfflineStore) -> OfflineStore:
    """January and March of some customers, of whom a fifth leave."""
    fill(platform, JANUARY, 0, months_active=1)
    fill(platform, MARCH, CUSTOMERS // 5, months_active=2)
    return platform


def start(*flags: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.materialize", *flags], stdout=file, stderr=file, env=dict(os.environ)
        )


def summary(log: Path) -> str:
    """The run's one line; Ray writes there too."""
    return [line for line in log.read_text().splitlines() if line.startswith("materialize: ")][-1]


def run(*flags: str, log: Path) -> int:
    return start(*flags, log=log).wait(ENDS_WITHIN_SECONDS)


ON_RAY = ("--engine", "ray", "--partitions", "6")


def test_partitions_on_several_nodes_end_in_the_same_bytes(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert run("--as-of", "2024-01-31", log=log) == 0
    assert run(log=log) == 0
    local = dump(redis_client)
    told = summary(log)
    redis_client.flushall()
    assert run("--as-of", "2024-01-31", *ON_RAY, log=log) == 0, log.read_text()
    assert run(*ON_RAY, log=log) == 0, log.read_text()
    assert dump(redis_client) == local
    counts = "10000 written, 2000 removed"
    assert counts in told
    assert counts in summary(log)
    digests = "SELECT details #> '{feature_views, usage_agg_30d_fv}' FROM ledger.runs WHERE job = 'materialize'"
    _, one, _, other = months.connection.execute(digests + " ORDER BY run_id").fetchall()
    assert one == other, "the digest and the counts do not hang on how the work was split"


@pytest.mark.parametrize("partitions", [1, 5, 8])
def test_an_entity_is_whole_on_several_nodes_in_whatever_types_two_sources_keep_its_key(
    cluster: Cluster, platform: OfflineStore, redis_client: BytesRedis, tmp_path: Path, partitions: int
) -> None:
    views = [view_over(table, {"a": "STRING", "b": "STRING"}, {"v": "INT64"}) for table in ("one", "two")]
    for table, kept in (("one", {"a": "char(10)", "b": "boolean"}), ("two", {"a": "text", "b": "text"})):
        create(platform.connection, table, kept | {"as_of": "date", "created_at": "timestamptz", "v": "bigint"})
        keys = [(f"user-{number}", both) for number in range(50) for both in ("true", "false")]
        insert(platform.connection, table, [(*key, JANUARY, JANUARY, 1) for key in keys])
    define(platform.connection, *views)
    log = tmp_path / "log"
    assert run("--engine", "ray", "--partitions", str(partitions), log=log) == 0, log.read_text()
    held = [fields for key, fields in dump(redis_client).items() if not key.startswith(b"feature-platform:")]
    assert [len(fields) for fields in held] == [4] * 100


def test_a_node_that_is_lost_in_the_middle_costs_its_partitions_another_try(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert run(log=log) == 0
    undisturbed = dump(redis_client)
    redis_client.flushall()
    process = start(*ON_RAY, log=log)
    wait_for_entities(redis_client, 1)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    assert process.wait(ENDS_WITHIN_SECONDS) == 0, log.read_text()
    assert dump(redis_client) == undisturbed


def test_a_partition_that_fails_fails_the_run_with_its_own_sentence(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    redis_client.config_set("maxmemory", "1")
    redis_client.execute_command("ACL", "SETUSER", "default", "-info")  # else it would not be begun
    try:
        assert run(*ON_RAY, log=log) == 1
    finally:
        redis_client.execute_command("ACL", "SETUSER", "default", "+info")
        redis_client.config_set("maxmemory", "0")
    assert "Redis said: OOM" in summary(log)
    assert months.runs()[-1][1] == "failed"


def test_workers_stop_writing_when_the_run_loses_the_writer_lock(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    for number in range(1, 9):
        fill(months, MARCH, number * CUSTOMERS * 2, months_active=2)
    process = start(*ON_RAY, log=log)
    wait_for_entities(redis_client, 1)
    with psycopg.connect("", autocommit=True) as other:
        other.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name LIKE '%writer lock' AND datname = current_database()"""
        )
    assert process.wait(ENDS_WITHIN_SECONDS) == 1, log.read_text()
    assert "writer lock" in summary(log)
    written = redis_client.dbsize()
    assert written < 9 * CUSTOMERS, "they stopped before they were through"
    assert months.runs()[-1][1] == "failed"
    assert redis_client.dbsize() == written


def test_a_head_that_is_lost_fails_the_run_which_says_so(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "2")
    process = start(*ON_RAY, log=log)
    wait_for_entities(redis_client, 1)
    assert cluster.head_node is not None
    cluster.head_node.all_processes["ray_client_server"][0].process.kill()
    assert process.wait(ENDS_WITHIN_SECONDS) == 1, log.read_text()
    assert "was lost in the middle; run it again" in summary(log)
    assert months.runs()[-1][1] == "failed"


def test_sigterm_ends_a_run_that_still_looks_for_the_cluster(
    platform: OfflineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    process = start(*ON_RAY, log=log)
    time.sleep(LOOKS_SECONDS)
    process.terminate()
    assert process.wait(STOPS_WITHIN_SECONDS) == 1, log.read_text()
    assert "interrupted before it was done" in summary(log)
    assert platform.runs()[-1][1] == "failed"


def test_sigterm_ends_the_run_and_its_tasks(
    cluster: Cluster, months: OfflineStore, redis_client: BytesRedis, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start(*ON_RAY[:2], "--partitions", "200", log=log)
    wait_for_entities(redis_client, 1)
    process.terminate()
    assert process.wait(STOPS_WITHIN_SECONDS) == 1, log.read_text()
    assert "interrupted before it was done" in summary(log)
    assert months.runs()[-1][1] == "failed"
    written = redis_client.dbsize()
    assert written < CUSTOMERS, "it was interrupted in the middle"
    time.sleep(1)
    assert redis_client.dbsize() == written


@pytest.mark.parametrize(
    ("address", "code", "complaint"),
    [
        (None, 2, "--engine ray needs RAY_ADDRESS"),
        ("ray://127.0.0.1:1", 1, "the Ray cluster at ray://127.0.0.1:1 cannot be reached"),
    ],
)
def test_a_cluster_that_is_not_named_or_not_there_is_told_so(
    platform: OfflineStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    code: int,
    complaint: str,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    log = tmp_path / "log"
    assert run(*ON_RAY, log=log) == code, log.read_text()
    assert complaint in summary(log)
