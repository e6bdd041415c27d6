"""What the log says of requests, and by which name they are found in it."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from api.routes import PROBES
from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.gateway_support import GatewayProcess

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
# The short way, the ordinary one, a batch, an error.
CALLS = ("/features/u1", "/features/u1?metadata=true", "/features/nobody", "/status", "/nothing")


def requests(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """The lines of requests; the probes by which the tests wait for a gateway have some too."""
    lines = [event for event in gateway.events() if event["event"] in ("request", "slow_request")]
    return [line for line in lines if line["route"] not in PROBES]


@pytest.mark.parametrize("path", CALLS)
def test_the_trace_that_a_caller_sends_is_returned(redis_client: redis.Redis, tmp_path: Path, path: str) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        assert gateway.http.get(path, headers=TRACEPARENT).headers["traceparent"].startswith(f"00-{TRACE}-")
        names = [gateway.http.get(path).headers["traceparent"] for _ in range(2)]
        assert names[0] != names[1]


def test_every_request_has_a_line_where_that_is_asked_for_and_no_line_has_an_id(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_GATEWAY_REQUEST_LOG="all") as gateway:
        gateway.wait_ready()
        for path in CALLS:
            gateway.http.get(path, headers=TRACEPARENT)
        gateway.http.post("/features", json={"entities": {"user_id": ["u1"]}})
        support.wait_for(lambda: len(requests(gateway)) == 6)
        lines = requests(gateway)
        assert [(line["method"], line["route"], line["code"]) for line in lines] == [
            ("GET", "/features/{id}", 200), ("GET", "/features/{id}", 200), ("GET", "/features/{id}", 404),
            ("GET", "/status", 200), ("GET", "unmatched", 404), ("POST", "/features", 200),
        ]  # fmt: skip
        assert {line["trace_id"] for line in lines[:5]} == {TRACE}
        assert all(line["duration_ms"] > 0 for line in lines)
        assert "nobody" not in gateway.log.read_text()
        assert "u1" not in gateway.log.read_text()


def test_by_default_only_what_failed_or_was_slow_has_a_line(own_redis: RedisServer, tmp_path: Path) -> None:
    support.seed(redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(
        tmp_path / "log", **environment, FEATURE_PLATFORM_GATEWAY_SLOW_REQUEST_SECONDS="60"
    ) as gateway:
        gateway.wait_ready()
        for path in CALLS:
            assert gateway.http.get(path).status_code < 500
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            failed = gateway.http.get("/features/u1", headers=TRACEPARENT)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert failed.status_code == 503
        [line] = support.wait_for(lambda: requests(gateway))
        assert (line["level"], line["trace_id"], line["code"]) == ("error", TRACE, 503)


def test_a_slow_request_has_a_line_that_says_so(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_GATEWAY_SLOW_REQUEST_SECONDS="0.05") as gateway:
        gateway.wait_ready()
        redis_client.execute_command("CLIENT", "PAUSE", 100, "ALL")
        assert gateway.http.get("/features/u1", headers=TRACEPARENT).status_code == 200
        slow = support.wait_for(lambda: [line for line in requests(gateway) if line["trace_id"] == TRACE])
        assert [(line["event"], line["code"], line["duration_ms"] >= 50) for line in slow] == [
            ("slow_request", 200, True)
        ]


def test_thousands_of_failures_do_not_flood_the_log(own_redis: RedisServer, tmp_path: Path) -> None:
    support.seed(redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(tmp_path / "log", **environment) as gateway:
        gateway.wait_ready()
        own_redis.stop()

        def left_out() -> list[int]:
            assert gateway.http.get("/features/u1").status_code == 503
            return [event["count"] for event in gateway.events() if event["event"] == "requests_not_logged"]

        assert support.wait_for(left_out)[0] > 0
