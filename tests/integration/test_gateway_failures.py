"""What goes wrong inside costs the one caller whom it concerns an answer that says so, and nobody else anything."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from tests import gateway_support as support
from tests.gateway_support import Caller, GatewayProcess, refused

U1 = b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n\r\n"
MANY = {"entities": {"user_id": ["u1"]}}
FEAST = MANY | {"features": ["usage:devices"]}


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, payload: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def deep(levels: int) -> bytes:
    """A list of a list of a list ... of an integer: deeper than protobuf's own encoder goes."""
    data = b"\x20\x01"
    for _ in range(levels):
        data = field(42, field(1, data))
    return data


NO_VALUES = {
    "the key of a map is a number": field(20, field(1, b"\x08\x01")),
    "nested deeper than JSON goes": deep(300),
    "nested deeper than Python goes": deep(3_000),
    "a list of integers holds doubles": field(13, b"\x09" + b"\x01" * 8),
    "no field of a value": b"\xff\xff",
    "cut": Value(int64_val=300).SerializeToString()[:-1],
    "text that is no UTF-8": field(2, b"\xff"),
    "an integer where text belongs": b"\x10\x01",
}
NO_TIMESTAMPS = {
    "the year 300,000,000": b"\x08" + b"\xff" * 7 + b"\x7f",
    "before the year 1": b"\x08" + b"\xff" * 8 + b"\x80\x01",
    "a billion nanoseconds": b"\x08\x01\x10\x80\x94\xeb\xdc\x03",
    "text": b"today",
    "cut": b"\x08",
}


@pytest.mark.parametrize("data", NO_VALUES.values(), ids=NO_VALUES)
def test_stored_bytes_that_are_no_value_are_a_500_for_who_asks_for_them_alone(
    gateway: GatewayProcess, redis_client: redis.Redis, data: bytes
) -> None:
    devices: Any = bytes.fromhex(support.plan()["feature_views"]["usage"]["features"]["devices"]["field"])
    store(redis_client, devices, data)
    judge(gateway, "usage:devices")


@pytest.mark.parametrize("data", NO_TIMESTAMPS.values(), ids=NO_TIMESTAMPS)
def test_stored_bytes_that_are_no_timestamp_are_a_500_for_who_asks_for_them_alone(
    gateway: GatewayProcess, redis_client: redis.Redis, data: bytes
) -> None:
    store(redis_client, b"_ts:usage", data)
    judge(gateway, "usage:")


def test_a_key_that_holds_no_hash_is_a_500_for_who_asks_for_it_alone(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    support.write(redis_client, "usage", support.user("u2"), support.USAGE)
    redis_client.set(support.redis_key(support.user("u3")), b"text")
    redis_client.rename(support.redis_key(support.user("u3")), support.redis_key(support.user("u1")))
    judge(gateway, "no hash")
    assert gateway.http.get("/status").json()["online_store"] == "reachable"


def store(client: redis.Redis, name: bytes, data: bytes) -> None:
    """Another whole customer, and u1 with these bytes."""
    for view, values in (("profile", support.PROFILE), ("usage", support.USAGE)):
        support.write(client, view, support.user("u2"), values)
    client.hset(support.redis_key(support.user("u1")), name, data)  # type: ignore[arg-type]


def judge(gateway: GatewayProcess, text: str) -> None:
    for path in ("/features/u1", "/features/u1?metadata=true", "/features/u1?features=devices"):
        refused(gateway.http.get(path), 500, text)
    for path, body in (("/features", MANY), ("/features", MANY | {"metadata": True}), ("/get-online-features", FEAST)):
        refused(gateway.http.post(path, json=body), 500, text)
    assert gateway.http.get("/features/u2?features=devices").json()["features"] == {"devices": 2}
    metrics = httpx.get(f"{gateway.metrics_url}/metrics").text
    assert 'requests_total{code="500",method="GET",route="/features/{id}"} 3.0' in metrics
    assert "feature_gateway_in_flight_requests 0.0" in metrics


# What breaks is our own: the read on the spot, before and after the online store has answered.
BROKEN = {
    "before": "from api import direct; direct.begin = lambda *_: 1 // 0",
    "after": "from api.compiled import Program; Program.one = lambda *_: 1 // 0",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_an_error_of_ours_is_a_500_that_is_counted_and_its_traceback_is_in_the_log_alone(
    redis_client: redis.Redis, tmp_path: Path, code: str
) -> None:
    support.seed(redis_client)
    program = ("-c", f"{code}; from api import __main__ as gateway; gateway.main()")
    with support.gateway_process(tmp_path / "log", program) as gateway:
        support.wait_for(lambda: gateway.http.post("/features", json=MANY).status_code == 200)
        refused(gateway.http.get("/features/u1"), 500, "its log tells why")
        metrics = httpx.get(f"{gateway.metrics_url}/metrics").text
        assert 'requests_total{code="500",method="GET",route="/features/{id}"} 1.0' in metrics
        assert "feature_gateway_in_flight_requests 0.0" in metrics
        [logged] = [entry for entry in gateway.events() if entry["event"] == "unexpected_error"]
        assert "ZeroDivisionError" in logged["error"]
        assert logged["route"] == "/features/{id}"


@pytest.mark.parametrize("bad", [b"\x00\x01\x02\r\n\r\n", b"GET /features/\xff HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_is_no_http_is_refused_behind_the_answers_to_what_came_before(gateway: GatewayProcess, bad: bytes) -> None:
    caller = Caller(gateway)
    caller.send(U1 + U1.replace(b"u1", b"nobody") + bad)
    assert [caller.answer()[0] for _ in range(3)] == [200, 404, 400]
    assert caller.is_closed()


def test_a_body_whose_chunks_are_broken_is_refused_as_a_whole(gateway: GatewayProcess) -> None:
    caller = Caller(gateway)
    caller.send(b"POST /features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\nnonsense\r\n")
    status, headers, body = caller.answer()
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["status"] == 400
    assert caller.is_closed()


UPGRADES = {
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
}


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES)
def test_an_upgrade_is_not_made_and_the_request_is_answered_without_a_word_in_the_log(
    gateway: GatewayProcess, headers: bytes
) -> None:
    before = gateway.log.read_text()
    caller = Caller(gateway)
    upgrade = U1.replace(b"Host: x\r\n", b"Host: x\r\n" + headers)
    post = json.dumps(MANY).encode()
    with_body = b"POST /features HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(post), post)
    caller.send(upgrade + U1 + with_body + upgrade * 100)
    answers = [caller.answer() for _ in range(103)]
    assert [status for status, _, _ in answers] == [200] * 103
    assert answers[0][2] == answers[1][2] == answers[3][2] == answers[-1][2]
    assert gateway.log.read_text() == before
