"""The feature server as a pod runs it: it outlives Postgres, then learns what is new, and ends when it is told."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.local.servers import PostgresServer, RedisServer
from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until
from tests.conftest import PROJECT, REPOSITORY
from tests.integration.job_process import run
from tests.process_support import descendants, wait_for

# As `python -m jobs.feature_server`, but with a registry that is read again every half second.
SERVE = """
import sys
from jobs import feature_server
feature_server.REGISTRY_AGE_SECONDS = 0.5
sys.exit(feature_server.main())
"""

ESTABLISHED = "01"

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels."""
ANSWERED: Series = (
    "feast_feature_server_request_total", (("endpoint", "/get-online-features"), ("status", "success"))
)  # fmt: skip


class Server:
    """A running feature server."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        port, metrics_port = free_port(), free_port()
        command = [sys.executable, "-c", SERVE, "--port", str(port), "--metrics-port", str(metrics_port)]
        self._log = log
        self.temporary = log.with_name("temporary")
        self.temporary.mkdir()
        environment = {**environment, "TMPDIR": str(self.temporary)}
        self.process: subprocess.Popen[bytes] = start_child(
            command, log=log, environment={**os.environ, **environment}, working_directory=REPOSITORY
        )
        self.client = httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=5.0)
        self.metrics_url = f"http://{LOOPBACK}:{metrics_port}/metrics"

    def wait(self) -> None:
        wait_until(self.is_healthy, self.process, "the feature server", self._log, 120.0)

    def is_healthy(self) -> bool:
        try:
            return self.client.get("/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def ask(self, service: str) -> httpx.Response:
        asked: dict[str, Any] = {"feature_service": service, "entities": {"user_id": ["nobody"]}}
        return self.client.post("/get-online-features", json=asked)

    def metrics(self) -> Mapping[Series, float]:
        """What Prometheus reads."""
        text = httpx.get(self.metrics_url, timeout=5.0).raise_for_status().text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}

    def stop(self) -> None:
        self.client.close()
        stop_child(self.process)

    def end(self) -> int:
        """Send SIGTERM; the exit code. Fails if it takes ten seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@pytest.fixture
def postgres(servers_folder: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A Postgres for a test to stop."""
    server = PostgresServer(servers_folder / tmp_path.name)
    yield server
    server.stop()


@pytest.fixture
def environment(postgres: PostgresServer, redis_server: RedisServer) -> dict[str, str]:
    """The settings of a platform to which apply has been run."""
    settings = {
        **postgres.environment("postgres"), "FEATURE_PLATFORM_PROJECT": PROJECT,
        "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": redis_server.connection_string,
    }  # fmt: skip
    assert run("jobs.apply", environment=settings).code == 0
    return settings


@contextmanager
def serving(log: Path, environment: dict[str, str]) -> Iterator[Server]:
    server = Server(log, environment)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """A feature server that answers."""
    with serving(tmp_path / "log", environment) as server:
        assert server.ask("churn_v1").status_code == httpx.codes.OK
        yield server


@contextmanager
def hanging(postgres: PostgresServer) -> Iterator[None]:
    """Every process of Postgres stands still: connections stay and nothing answers."""
    processes = {postgres.pid, *descendants(postgres.pid)}
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy of the shipped repository for a test to edit."""
    return Path(shutil.copytree(repository, tmp_path / "copy", ignore=shutil.ignore_patterns("sample", "__pycache__")))


def edit(file: Path, before: str, after: str) -> None:
    """Replace the one place in `file` where `before` stands."""
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))


@pytest.fixture
def release(copy: Path, environment: dict[str, str]) -> dict[str, str]:
    """The settings of another release, which has a feature service churn_v3."""
    edit(copy / "features.py", 'name="churn_v2"', 'name="churn_v3"')
    return {**environment, "FEATURE_PLATFORM_REPO": str(copy)}


def refuse(postgres: PostgresServer, times: int) -> None:
    """Stand in for a Postgres that is away: cut off this many who connect."""
    with socket.create_server((postgres.host, postgres.port)) as listener:
        listener.settimeout(30)
        for _ in range(times):
            listener.accept()[0].close()


def test_a_postgres_that_was_away_stops_no_request_and_new_definitions_are_served_once_it_is_back(
    server: Server, postgres: PostgresServer, release: dict[str, str]
) -> None:
    postgres.stop()
    refuse(postgres, times=3)
    assert server.is_healthy()
    assert server.ask("churn_v1").status_code == httpx.codes.OK
    postgres.start()
    assert server.ask("churn_v3").status_code != httpx.codes.OK
    assert run("jobs.apply", environment=release).code == 0
    wait_for(lambda: server.ask("churn_v3").status_code == httpx.codes.OK, "the new service is served")


def test_while_postgres_hangs_no_request_waits_for_it_and_sigterm_ends_it(
    environment: dict[str, str], copy: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    edit(copy / "feature_store.yaml", "cache_ttl_seconds: 60", "cache_ttl_seconds: 1")
    with serving(tmp_path / "log", {**environment, "FEATURE_PLATFORM_REPO": str(copy)}) as server, hanging(postgres):
        wait_for(lambda: is_asked_in_vain(postgres.port), "the registry is looked for")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert server.is_healthy()
            assert server.ask("churn_v1").status_code == httpx.codes.OK
        assert server.end() == 0


def is_asked_in_vain(port: int) -> bool:
    """Whether some connection to this port has brought bytes that the server has not read (Linux's /proc)."""
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        if int(fields[1].split(":")[1], 16) == port and int(fields[4].split(":")[1], 16) > 0:
            return fields[3] == ESTABLISHED
    return False


def test_the_worker_reads_the_registry_over_a_connection_of_its_own(server: Server, postgres: PostgresServer) -> None:
    parent = server.process.pid
    (worker,) = descendants(parent)
    wait_for(lambda: connections(worker, postgres.port) - connections(parent, postgres.port), "it has its own")


def connections(pid: int, port: int) -> set[str]:
    """The sockets of a process that are connected to this port (Linux's /proc)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = {f"socket:[{row[9]}]" for row in rows if int(row[2].split(":")[1], 16) == port}
    return there & {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}


def test_prometheus_reads_what_the_worker_has_answered_and_nothing_is_left_in_files(server: Server) -> None:
    before = server.metrics()[ANSWERED]
    assert server.ask("churn_v1").status_code == httpx.codes.OK
    after = server.metrics()
    assert after[ANSWERED] == before + 1
    assert after["process_resident_memory_bytes", ()] > 0
    assert [file for file in server.temporary.rglob("*") if file.is_file()] == []


def test_a_caller_makes_no_series_by_what_it_names(server: Server) -> None:
    def name(views: int) -> None:
        asked = {"features": [f"v{number}:f" for number in range(views)], "entities": {"user_id": ["nobody"]}}
        # Feast cuts the connection on which it has failed.
        answer = httpx.post(f"{server.client.base_url}/get-online-features", json=asked, timeout=5.0)
        assert answer.status_code != httpx.codes.OK

    for views in (1, 11, 51, 201):
        name(views)
    known = server.metrics().keys()
    for views in (2, 12, 52, 202, 999):
        name(views)
    assert server.metrics().keys() == known


def test_a_worker_that_follows_another_is_read_on_the_same_port(server: Server) -> None:
    (worker,) = descendants(server.process.pid)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: descendants(server.process.pid) - {worker}, "another worker")
    wait_for(server.is_healthy, "it answers")
    assert server.metrics().get(ANSWERED, 0.0) == 0.0
    assert server.ask("churn_v1").status_code == httpx.codes.OK
    assert server.metrics()[ANSWERED] == 1.0


def test_a_port_for_metrics_that_is_taken_is_refused(environment: dict[str, str]) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("jobs.feature_server", "--metrics-port", port, environment=environment)
    assert (ended.code, ended.err) == (
        2, f"feature_server: cannot listen on {LOOPBACK}:{port} for metrics: Address already in use\n"
    )  # fmt: skip


def test_sigterm_ends_it_with_0_while_a_client_keeps_its_connection(server: Server) -> None:
    assert server.is_healthy(), "the connection is kept"
    assert server.end() == 0


def test_sigterm_ends_it_with_0_before_it_serves(environment: dict[str, str], tmp_path: Path) -> None:
    server = Server(tmp_path / "log", environment)
    try:
        wait_for(lambda: handles_sigterm(server.process.pid), "it has begun")
        assert not server.is_healthy()
        assert server.end() == 0
    finally:
        server.stop()


def handles_sigterm(pid: int) -> bool:
    """Whether the process has a handler, without which the first process of a container ignores the signal."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
