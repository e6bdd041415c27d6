"""The gateway as it is deployed: a process of its own that Redis comes and goes under."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.gateway_support import DAY, NOW, GatewayProcess, refused


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory, servers_folder: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    server = RedisServer(servers_folder / tmp_path_factory.mktemp("redis").name)
    yield server
    server.stop()


def connect(server: RedisServer) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, password=server.password)


def memory(gateway: GatewayProcess) -> float:
    """Resident megabytes."""
    [line] = [
        line
        for line in Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


# --- refusals


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PROJECT", "", "FEATURE_PLATFORM_PROJECT must be the name of"),
        ("GATEWAY_PORT", "x", "FEATURE_PLATFORM_GATEWAY_PORT must be a port from 1 to 65535"),
        ("REDIS_CONNECTION_STRING", "redis", "FEATURE_PLATFORM_REDIS_CONNECTION_STRING must begin with HOST:PORT"),
        ("FRESHNESS_REFERENCE", "x", "FEATURE_PLATFORM_FRESHNESS_REFERENCE must be now"),
        ("API_KEY_HASHES", "secret", "FEATURE_PLATFORM_API_KEY_HASHES must be SHA-256"),
        ("SECRETS_DIR", "/nowhere", "FEATURE_PLATFORM_SECRETS_DIR must be a folder"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence_and_2(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"FEATURE_PLATFORM_{name}", value)
    ended = start()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["GATEWAY_PORT", "GATEWAY_METRICS_PORT"])
def test_a_port_in_use_ends_the_start_with_one_sentence_and_1(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for setting in ("GATEWAY_PORT", "GATEWAY_METRICS_PORT"):
        monkeypatch.setenv(f"FEATURE_PLATFORM_{setting}", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv(f"FEATURE_PLATFORM_{name}", str(taken.getsockname()[1]))
        ended = start()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Cannot listen on 127.0.0.1:")
    assert name in ended.stderr
    assert ended.stderr.count("\n") == 1


def start() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api"], cwd=support.REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer third", "Basic first", "first", f"Bearer {'x' * 5000}"]
)
def test_without_a_valid_key_all_but_probes_and_empty_pages_is_refused(redis_client: redis.Redis, sent: str) -> None:
    support.seed(redis_client)
    with support.in_process(api_key_hashes=hashes("first", "second")) as http:
        for path in (
            "/features/u1",
            "/features/nobody",
            "/feature-services",
            "/status",
            "/openapi.json",
            "/docs/x",
            "/x",
        ):
            response = http.get(path, headers={"Authorization": sent} if sent else {})
            refused(response, 401, "Authorization: Bearer KEY")
            assert response.headers["www-authenticate"].startswith("Bearer")
        for path in ("/features", "/get-online-features"):
            refused(http.post(path, content=b"{"), 401)
        for path in ("/livez", "/readyz", "/health", "/", "/docs"):
            assert http.get(path).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"NONSENSE\r\n\r\n", b"SECRET /features/u1 HTTP/1.1\r\n\r\n", b"GET /features/\xff HTTP/1.1\r\nHost: x\r\n\r\n"],
)
def test_bytes_that_are_no_http_are_refused_as_a_problem(gateway: GatewayProcess, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall(sent)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
    assert gateway.http.get("/features/u1").status_code == 200


# --- what holds


def test_several_keys_are_valid_at_once_from_a_file(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    (tmp_path / "feature_platform_api_key_hashes").write_text(hashes("first", "second"))
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_SECRETS_DIR=str(tmp_path)) as gateway:
        gateway.wait_ready()
        for key in ("first", "second"):
            assert gateway.http.get("/features/u1", headers={"Authorization": f"Bearer {key}"}).status_code == 200
            assert gateway.http.get("/features/u1", headers={"authorization": f"bearer {key}"}).status_code == 200
        refused(gateway.http.get("/features/u1"), 401)
        assert httpx.get(f"{gateway.metrics_url}/metrics").status_code == 200


def hashes(*keys: str) -> str:
    return ",".join(hashlib.sha256(key.encode()).hexdigest() for key in keys)


def test_it_is_ready_within_seconds_and_stays_small(
    gateway: GatewayProcess, record_property: Callable[[str, object], None]
) -> None:
    for _ in range(500):
        assert gateway.http.get("/features/u1").status_code == 200
    record_property("resident_megabytes", memory(gateway))
    assert memory(gateway) < 5 * 80


def test_it_imports_neither_feast_nor_protobuf_nor_pandas_nor_our_jobs() -> None:
    code = "import api.app, api.__main__, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=support.REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"feast", "google", "pandas", "numpy", "jobs", "feature_repo", "httpx"} & set(loaded)


def test_metrics_count_by_template_and_never_show_an_id(gateway: GatewayProcess) -> None:
    for path in ("/features/u1", "/features/secret-id", "/nothing/secret-id", "/feature-services/secret-id"):
        gateway.http.get(path)
    gateway.http.request("PURGE", "/features/u1")
    text = httpx.get(f"{gateway.metrics_url}/metrics").text
    assert "secret" not in text.lower()
    assert 'feature_gateway_http_requests_total{code="200",method="GET",route="/features/{id}"} 1.0' in text
    assert 'feature_gateway_http_requests_total{code="404",method="GET",route="/features/{id}"} 1.0' in text
    assert 'code="404",method="GET",route="unmatched"} 1.0' in text
    assert 'code="405",method="OTHER",route="/features/{id}"} 1.0' in text
    assert 'feature_gateway_feature_values_total{feature_view="profile",status="PRESENT"} 3.0' in text
    assert 'feature_gateway_feature_values_total{feature_view="profile",status="NULL_VALUE"} 1.0' in text
    for bound in ("0.00025", "0.01", "0.05", "2.5"):
        assert f'feature_gateway_http_request_duration_seconds_bucket{{le="{bound}",method="GET"' in text
    watermark = "feature_materialization_watermark_timestamp_seconds"
    [line] = [line for line in text.splitlines() if line.startswith(f'{watermark}{{feature_view="usage"}}')]
    assert float(line.split()[1]) == NOW.timestamp()
    assert "feature_gateway_in_flight_requests 0.0" in text
    assert "feature_gateway_online_read_duration_seconds_count 2.0" in text
    assert "feature_gateway_build_info{" in text


def test_metrics_leave_no_files_where_feast_would_put_its_own(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    folder = tmp_path / "multiprocess"
    folder.mkdir()
    with support.gateway_process(tmp_path / "log", PROMETHEUS_MULTIPROC_DIR=str(folder)) as gateway:
        gateway.wait_ready()
        assert not list(folder.iterdir())


def test_a_new_plan_is_served_without_a_restart_and_without_a_failed_request(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    document = support.plan()
    document["feature_services"]["small"] = support.service("usage:devices")
    version = support.publish(redis_client, document)
    answers: set[int] = set()

    def served() -> bool:
        answers.add(gateway.http.get("/features/u1").status_code)
        return gateway.http.get("/features/u1?feature_service=small").status_code == 200

    support.wait_for(served)
    assert answers == {200}
    assert gateway.http.get("/status").json()["plan"]["version"] == version


def test_a_plan_that_cannot_be_served_is_logged_once_and_the_last_good_one_stays(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    support.publish(redis_client, support.plan(format=2))
    support.wait_for(lambda: [entry for entry in gateway.events() if entry["event"] == "plan_rejected"])
    assert gateway.http.get("/features/u1").status_code == 200
    good = support.publish(redis_client, support.plan(default_feature_service="pairs"))
    support.wait_for(lambda: gateway.http.get("/status").json()["plan"]["version"] == good)
    [rejected] = [entry for entry in gateway.events() if entry["event"] == "plan_rejected"]
    assert "format" in rejected["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_without_a_traceback(gateway: GatewayProcess, number: signal.Signals) -> None:
    assert gateway.http.get("/features/u1").status_code == 200
    gateway.process.send_signal(number)
    assert gateway.process.wait(12) == 0
    assert "Traceback" not in gateway.log.read_text()


def test_at_its_end_a_kept_connection_gets_one_more_answer_which_says_that_it_is_the_last(
    gateway: GatewayProcess,
) -> None:
    address = int(gateway.url.rpartition(":")[2])
    kept = [http.client.HTTPConnection("127.0.0.1", address, timeout=5) for _ in range(3)]
    assert [answer_on(connection) for connection in kept] == [(200, None)] * 3
    gateway.process.send_signal(signal.SIGTERM)
    support.wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", address)) != 0)
    assert [answer_on(connection) for connection in kept] == [(200, "close")] * 3
    assert gateway.process.wait(12) == 0


def test_at_its_end_a_connection_that_asks_nothing_holds_it_up_for_a_moment_only(gateway: GatewayProcess) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", int(gateway.url.rpartition(":")[2]), timeout=5)
    assert answer_on(kept) == (200, None)
    started = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(12) == 0
    assert time.monotonic() - started < 8  # and not the 10 s that requests under way are given


def answer_on(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    """Status and header `Connection` of the answer to a request on it."""
    connection.request("GET", "/features/u1")
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["Connection"]


def test_it_starts_without_redis_and_is_ready_when_redis_is_there(own_redis: RedisServer, tmp_path: Path) -> None:
    own_redis.stop()
    with support.gateway_process(
        tmp_path / "log", FEATURE_PLATFORM_REDIS_CONNECTION_STRING=own_redis.connection_string
    ) as gateway:
        assert gateway.http.get("/livez").status_code == 200
        refused(gateway.http.get("/readyz"), 503)
        refused(gateway.http.get("/features/u1"), 503)
        own_redis.start()
        support.seed(connect(own_redis))
        support.wait_for(lambda: gateway.http.get("/readyz").status_code == 200)
        assert gateway.http.get("/features/u1").status_code == 200


def test_without_redis_reads_are_refused_at_once_and_right_again_when_it_is_back(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    support.seed(connect(own_redis))
    with support.gateway_process(
        tmp_path / "log", FEATURE_PLATFORM_REDIS_CONNECTION_STRING=own_redis.connection_string
    ) as gateway:
        gateway.wait_ready()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: gateway.http.get("/features/u1"), range(50)))
        own_redis.stop()
        started = time.monotonic()
        refused(gateway.http.get("/features/u1"), 503, "online store")
        refused(gateway.http.post("/features", json={"entities": {"user_id": ["u1"] * 500}}), 503)
        assert time.monotonic() - started < 5 * 2 * 0.3
        assert gateway.http.get("/readyz").status_code == 200
        assert gateway.http.get("/status").json()["online_store"] == "unreachable"
        own_redis.start()
        support.seed(connect(own_redis))
        for _ in range(50):
            assert gateway.http.get("/features/u1").json()["features"]["devices"] == 2


def test_a_hanging_redis_is_refused_within_the_deadline_and_answers_nobody_else_later(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    client = connect(own_redis)
    support.seed(client)
    for number in range(40):
        support.write(client, "usage", support.user(f"n{number}"), {"devices": Value(int64_val=number)})
    with support.gateway_process(
        tmp_path / "log", FEATURE_PLATFORM_REDIS_CONNECTION_STRING=own_redis.connection_string
    ) as gateway:
        gateway.wait_ready()
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for response in pool.map(lambda n: gateway.http.get(f"/features/n{n}"), range(16)):
                    refused(response, 503, "online store")
            assert time.monotonic() - started < 5 * 2 * 0.3
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        for number in range(40):
            answer = gateway.http.get(f"/features/n{number}?features=devices").json()
            assert answer == {"user_id": f"n{number}", "features": {"devices": number}}


def test_a_gateway_that_was_held_up_itself_takes_what_redis_has_answered_meanwhile(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    support.seed(connect(own_redis))
    with (
        support.gateway_process(
            tmp_path / "log", FEATURE_PLATFORM_REDIS_CONNECTION_STRING=own_redis.connection_string
        ) as gateway,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        gateway.wait_ready()
        list(pool.map(lambda _: gateway.http.get("/features/u1"), range(50)))
        os.kill(own_redis.pid, signal.SIGSTOP)
        answers = [pool.submit(gateway.http.get, "/features/u1") for _ in range(8)]
        support.wait_for(lambda: "feature_gateway_in_flight_requests 8.0" in httpx.get(gateway.metrics_url).text)
        gateway.process.send_signal(signal.SIGSTOP)
        os.kill(own_redis.pid, signal.SIGCONT)
        time.sleep(0.5)  # twice as long as Redis is waited for
        gateway.process.send_signal(signal.SIGCONT)
        assert [answer.result().status_code for answer in answers] == [200] * 8


def test_stale_values_are_null_as_the_clock_goes_on(gateway: GatewayProcess, redis_client: redis.Redis) -> None:
    support.write(redis_client, "usage", support.user("u1"), support.USAGE, NOW - 45 * DAY - DAY / 24)
    answer = gateway.http.get("/features/u1?metadata=true&features=devices").json()
    assert answer["features"] == {"devices": None}
    assert answer["metadata"]["devices"]["status"] == "OUTSIDE_MAX_AGE"
