"""What Prometheus reads of the gateway, and that nobody who calls it can make that grow."""

import json
import os
import random
import signal
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from api import routes
from api.distribution import BUCKETS
from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.gateway_support import NOW, GatewayProcess

DAY = timedelta(days=1)
Series = tuple[str, frozenset[tuple[str, str]]]


def scrape(gateway: GatewayProcess) -> dict[Series, float]:
    text = httpx.get(f"{gateway.metrics_url}/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def test_the_bounds_of_the_service_levels_are_exact_and_a_quarter_of_a_millisecond_is_resolved() -> None:
    assert {0.01, 0.05} < set(BUCKETS)
    assert (BUCKETS[0], BUCKETS[-1]) == (0.00025, 2.5)


def test_every_answer_is_counted_by_route_method_and_code_with_its_duration(gateway: GatewayProcess) -> None:
    gateway.http.get("/features/u1")
    gateway.http.post("/features", content=b"nonsense")
    found = scrape(gateway)
    name = "feature_gateway_http_request_duration_seconds_bucket"
    assert found[series("feature_gateway_http_requests_total", route="/features/{id}", method="GET", code="200")] == 1
    assert found[series("feature_gateway_http_requests_total", route="/features", method="POST", code="422")] == 1
    bounds = [found[series(name, route="/features", method="POST", le=le)] for le in ("0.00025", "2.5", "+Inf")]
    assert bounds == sorted(bounds)
    assert bounds[-1] == 1


def test_failures_of_reads_are_zero_before_there_is_one(gateway: GatewayProcess) -> None:
    found = scrape(gateway)
    for method, route, _ in routes.READS:
        for code in ("200", "500", "503"):
            name = series("feature_gateway_http_requests_total", route=route, method=method, code=code)
            assert found[name] == 0
        assert found[series("feature_gateway_http_request_duration_seconds_count", route=route, method=method)] == 0


def test_the_wait_for_the_feature_server_is_measured_also_when_it_fails(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_FEATURE_SERVER_URL="http://127.0.0.1:1") as gateway:
        gateway.wait_ready()
        assert gateway.http.get("/features/u1?feature_service=computed").status_code == 503
        assert scrape(gateway)[series("feature_gateway_feature_server_duration_seconds_count")] == 1


def test_materializations_are_told_from_redis_so_also_right_after_a_start(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.publish(redis_client, support.plan())
    started, finished = NOW - 2 * DAY, NOW - 2 * DAY + timedelta(seconds=2.5)
    entry = {
        "watermark": "2024-01-31T00:00:00Z", "rows": 7, "previous_rows": 8,
        "left_out_rows": 5, "defaulted_elements": 6,
        "started_at": started.isoformat(), "finished_at": finished.isoformat(),
    }  # fmt: skip
    redis_client.hset(f"feature-platform:{support.PROJECT}:status", "usage", json.dumps(entry))
    ended = {"finished_at": (NOW - DAY).isoformat(), "exit_code": 3, "summary": None}
    busy = {"finished_at": NOW.isoformat(), "exit_code": 75, "summary": None}
    support.show_runs(
        redis_client, {started.isoformat(): ended, (NOW - DAY / 2).isoformat(): {}, (NOW - DAY / 3).isoformat(): busy}
    )
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        found = scrape(gateway)

    def of_view(name: str, view: str = "usage") -> float | None:
        return found.get(series(f"feature_materialization_{name}", feature_view=view))

    assert of_view("watermark_timestamp_seconds") == 1_706_659_200
    assert of_view("last_success_timestamp_seconds") == pytest.approx(finished.timestamp())
    assert (of_view("rows"), of_view("previous_rows"), of_view("duration_seconds")) == (7, 8, 2.5)
    assert (of_view("left_out_rows"), of_view("defaulted_elements")) == (5, 6)
    assert of_view("ttl_seconds") == 45 * 86_400
    assert of_view("last_success_timestamp_seconds", "profile") == 0, "served, and never materialized"
    assert of_view("watermark_timestamp_seconds", "profile") is None
    runs = {
        name.removeprefix("feature_materialization_"): value for (name, labels), value in found.items() if not labels
    }
    assert runs["last_run_exit_code"] == 3, "a run that found another one at work is none"
    assert runs["last_run_finished_timestamp_seconds"] == pytest.approx((NOW - DAY).timestamp())
    assert runs["unfinished_run_started_timestamp_seconds"] == pytest.approx((NOW - DAY / 2).timestamp())


def test_whether_redis_answers_is_told_also_when_nobody_asks(own_redis: RedisServer, tmp_path: Path) -> None:
    reachable = series("feature_gateway_online_store_reachable")
    support.seed(redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(tmp_path / "log", **environment) as gateway:
        gateway.wait_ready()
        assert scrape(gateway)[reachable] == 1
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            support.wait_for(lambda: scrape(gateway)[reachable] == 0)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        support.wait_for(lambda: scrape(gateway)[reachable] == 1)


def test_nothing_is_told_of_runs_before_there_was_one(gateway: GatewayProcess) -> None:
    assert not [name for name, _ in scrape(gateway) if "run_" in name]


def test_whatever_callers_send_no_label_takes_a_value_that_is_theirs(gateway: GatewayProcess) -> None:
    chance = random.Random(1)

    def rubbish() -> None:
        word = "".join(chance.choices("abc/%?&=.-_~{}\"\\'", k=chance.randint(1, 30))).replace("%", "%25")
        method = chance.choice(["GET", "POST", "PUT", "DELETE", "TRACE", "X" + "".join(chance.choices("ABC", k=3))])
        path = chance.choice(
            [
                f"/x{word}",
                f"/features/{word}",
                f"/features/u1?features={word}",
                f"/features/u1?feature_service={word}",
                f"/feature-services/{word}",
                f"/x{word}/features",
            ]
        )
        headers = {"traceparent": word, f"x-{chance.random()}": word}
        gateway.http.request(method, path, json={"features": [word], "entities": {word: [word]}}, headers=headers)

    for _ in range(3_000):
        rubbish()
    labels = [dict(labels) for _, labels in scrape(gateway)]

    def values(name: str) -> set[str]:
        return {of_one[name] for of_one in labels if name in of_one}

    paths = {path for _, path, _ in (*routes.READS, *routes.ROUTES)}
    assert values("route") <= paths | {"/openapi.json", "unmatched"}
    assert values("method") <= {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "OTHER"}
    assert values("code") <= {"200", "400", "401", "404", "405", "412", "413", "422", "499", "500", "503"}
    assert values("feature_view") <= support.plan()["feature_views"].keys()
    assert values("feature_service") <= support.plan()["feature_services"].keys()
    assert values("task") == {"plan_watch", "recent_traffic"}
    others = {"route", "method", "code", "feature_service", "feature_view", "status", "le", "task"}
    assert not [of_one for of_one in labels if of_one.keys() - others - {"version", "python"}]


def test_a_scrape_is_small_once_everything_was_asked_for(gateway: GatewayProcess) -> None:
    for method, path, _ in (*routes.READS, *routes.ROUTES):
        gateway.http.request(method, path)
    assert len(httpx.get(f"{gateway.metrics_url}/metrics").content) < 64 * 1024


def test_failures_of_background_tasks_are_zero_before_there_is_one(gateway: GatewayProcess) -> None:
    found = scrape(gateway)
    for task in ("plan_watch", "recent_traffic"):
        assert found[series("feature_gateway_background_task_failures_total", task=task)] == 0
