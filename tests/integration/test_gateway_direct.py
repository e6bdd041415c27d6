"""The common read takes a shorter way through the gateway; a caller cannot tell, but by the time it takes."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import redis

from tests import gateway_support as support
from tests.gateway_support import Caller, GatewayProcess

U1 = b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def caller(gateway: GatewayProcess) -> Iterator[Caller]:
    opened = Caller(gateway)
    yield opened
    opened.close()


def test_both_ways_give_the_same_headers_and_the_same_body(caller: Caller) -> None:
    caller.send(U1)
    status, headers, body = caller.answer()
    caller.send(U1.replace(b"u1 ", b"u1?metadata=false "))
    assert (status, body) == (200, caller.answer()[2])
    caller.send(U1.replace(b"u1 ", b"%75%31 "))
    ordinary = caller.answer()
    assert (ordinary[0], ordinary[1].keys(), ordinary[2]) == (200, headers.keys(), body)
    own = {"date": "", "traceparent": ""}
    assert ordinary[1] | own == headers | own
    assert json.loads(body)["features"]["monthly_fee"] == 29.85


def test_an_answer_has_the_date_of_its_own_second(caller: Caller) -> None:
    def date() -> str:
        caller.send(U1)
        return caller.answer()[1]["date"]

    first = date()
    assert support.wait_for(lambda: date() != first)


def test_requests_that_are_sent_without_waiting_are_answered_in_their_order(caller: Caller) -> None:
    post = json.dumps({"entities": {"user_id": ["u1"]}}).encode()
    many = b"POST /features HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(post), post)
    nobody = U1.replace(b"u1", b"nobody")
    caller.send((U1 + nobody + many + U1 + U1.replace(b"u1 ", b"u1?features=devices ")) * 20)
    for _ in range(20):
        answers = [caller.answer() for _ in range(5)]
        assert [status for status, _, _ in answers] == [200, 404, 200, 200, 200]
        bodies = [json.loads(body) for _, _, body in answers]
        assert bodies[0] == bodies[3]
        assert bodies[2]["results"][0]["features"] == bodies[0]["features"]
        assert bodies[4]["features"] == {"devices": 2}


@pytest.mark.parametrize(
    "request_bytes",
    [
        U1.replace(b"Host: x", b"Connection: close"),
        U1.replace(b"HTTP/1.1", b"HTTP/1.0"),
        # What HTTP/1.0 keeps it has to be told of, and no answer of ours tells it.
        U1.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x", b"Connection: keep-alive"),
    ],
)
def test_a_caller_that_wants_the_connection_closed_gets_it_closed(caller: Caller, request_bytes: bytes) -> None:
    caller.send(request_bytes)
    status, headers, _ = caller.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert caller.is_closed()


def test_a_body_that_nobody_asked_for_is_passed_over(caller: Caller) -> None:
    caller.send(U1.replace(b"Host: x", b"Host: x\r\nContent-Length: 5") + b"hello" + U1)
    assert caller.answer()[2] == caller.answer()[2]


def test_a_head_request_has_the_headers_and_no_body(caller: Caller) -> None:
    caller.send(U1.replace(b"GET", b"HEAD") + U1)
    status, headers, _ = caller.answer(of_head=True)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert caller.answer()[0] == 200


def test_a_caller_that_waits_for_leave_to_send_its_body_gets_it_at_once(caller: Caller) -> None:
    body = json.dumps({"entities": {"user_id": ["u1"]}}).encode()
    head = b"POST /features HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    caller.send(head)
    assert caller.answer(of_head=True)[0] == 100
    caller.send(body)
    assert caller.answer()[0] == 200


@pytest.mark.parametrize("odd", ["u%2F1", "ü", "a b", "x" * 1_025, "", "u1/", "u1#x", "u1;x"])
def test_an_odd_id_gets_what_the_ordinary_way_gives(gateway: GatewayProcess, odd: str) -> None:
    told = gateway.http.get(f"/features/{odd}")
    ordinary = gateway.http.get(f"/features/{odd.partition('#')[0]}?metadata=false")
    assert (told.status_code, told.text) == (ordinary.status_code, ordinary.text)


def test_keys_are_asked_for_on_both_ways(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    hashes = {"FEATURE_PLATFORM_API_KEY_HASHES": hashlib.sha256(b"right").hexdigest()}
    with support.gateway_process(tmp_path / "log", **hashes) as gateway:
        gateway.wait_ready()
        for query in ("", "?metadata=false"):
            support.refused(gateway.http.get(f"/features/u1{query}"), 401)
            headers = {"Authorization": "Bearer right"}
            assert gateway.http.get(f"/features/u1{query}", headers=headers).status_code == 200
            headers = {"Authorization": "Bearer wrong"}
            support.refused(gateway.http.get(f"/features/u1{query}", headers=headers), 401)


def test_both_ways_are_counted_alike(gateway: GatewayProcess) -> None:
    # u1 has a null; of usage alone it has none.
    for path in ("u1", "u1?metadata=true", "u1?features=devices,watch_hours", "nobody", "nobody?metadata=true"):
        gateway.http.get(f"/features/{path}")
    text = httpx.get(f"{gateway.metrics_url}/metrics").text
    counts = dict(re.findall(r"^(feature_gateway_\S+) (\d+)\.0$", text, re.MULTILINE))
    labels = 'method="GET",route="/features/{id}"'
    assert counts[f'feature_gateway_http_requests_total{{code="200",{labels}}}'] == "3"
    assert counts[f'feature_gateway_http_requests_total{{code="404",{labels}}}'] == "2"
    assert counts['feature_gateway_feature_values_total{feature_view="usage",status="PRESENT"}'] == "6"
    assert counts['feature_gateway_feature_values_total{feature_view="usage",status="NOT_FOUND"}'] == "4"
    assert counts["feature_gateway_online_read_duration_seconds_count"] == "5"
    duration = 'feature_gateway_http_request_duration_seconds_count{method="GET",route="/features/{id}"}'
    assert counts[duration] == "5"
    assert counts["feature_gateway_in_flight_requests"] == "0"


def test_a_redis_that_hangs_is_503_soon_on_both_ways(gateway: GatewayProcess, redis_client: redis.Redis) -> None:
    redis_client.execute_command("CLIENT", "PAUSE", 3_000, "ALL")
    for path in ("/features/u1", "/features/u1?metadata=false", "/features/u1"):
        support.refused(gateway.http.get(path), 503)
    support.wait_for(lambda: gateway.http.get("/features/u1").status_code == 200)


def test_rows_of_a_view_that_was_never_materialized_whole_are_not_served(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    redis_client.hdel(f"feature-platform:{support.PROJECT}:status", "usage")
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        for path in ("/features/u1", "/features/u1?metadata=true"):
            assert support.refused(gateway.http.get(path), 503)["title"] == "Not materialized yet"


def test_a_service_that_changed_is_answered_by_its_new_plan_on_both_ways(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    def features(query: str = "") -> object:
        return gateway.http.get(f"/features/u1{query}").json()["features"]

    assert features() == features("?metadata=false") != {"devices": 2}
    services: dict[str, object] = support.plan()["feature_services"]
    changed = support.plan(feature_services=services | {"main": support.service("usage:devices")})
    support.publish(redis_client, changed)
    support.wait_for(lambda: features() == {"devices": 2})
    assert features("?metadata=false") == {"devices": 2}


def test_a_caller_that_is_gone_when_its_answer_is_there_is_counted_as_such(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    count = 'requests_total{code="499",method="GET",route="/features/{id}"}'

    def was_counted() -> bool:
        redis_client.execute_command("CLIENT", "PAUSE", 100, "ALL")
        caller = Caller(gateway)
        caller.send(U1)
        caller.close()
        return count in httpx.get(f"{gateway.metrics_url}/metrics").text

    support.wait_for(was_counted)


def test_a_connection_that_asks_nothing_any_more_is_closed_after_a_while(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    support.seed(redis_client)
    soon = ("-c", "from api import __main__ as gateway; gateway.KEEP_ALIVE_SECONDS = 1; gateway.main()")
    with support.gateway_process(tmp_path / "log", soon) as gateway:
        gateway.wait_ready()
        caller = Caller(gateway)
        caller.send(U1)
        assert caller.answer()[0] == 200
        assert caller.is_closed()


def test_ages_follow_a_watermark_that_moves_on(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_FRESHNESS_REFERENCE="watermark") as gateway:
        gateway.wait_ready()
        assert gateway.http.get("/features/u1").json()["features"]["devices"] == 2
        support.fill(redis_client, watermark=support.NOW + timedelta(days=60))
        support.wait_for(lambda: gateway.http.get("/features/u1").json()["features"]["devices"] is None)
