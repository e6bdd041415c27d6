"""Callers that are slow, or gone, are let go, and nobody else notices; what is too much is refused at once."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from jobs.local.servers import RedisServer
from tests import gateway_support as support
from tests.bench.processes import memory_bytes
from tests.gateway_support import GatewayProcess

OF_EACH_KIND = 50
LET_GO_SECONDS = 10.0
# A body has 30 s. A busy machine may be late, and the connection is still closed by the gateway and not by the end of
# the test.
PATIENCE = 120.0
MANY = {"entities": {"user_id": ["u1"] * 1_000}}
MEGABYTE = 1_000_000
U1 = b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n\r\n"


def test_two_hundred_slow_callers_are_let_go_and_no_other_request_fails(gateway: GatewayProcess) -> None:
    body = json.dumps(MANY).encode()
    head = b"POST /features HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    kinds = {
        "silent": (b"", b""),
        "slow headers": (b"GET /features/u1 HTTP/1.1\r\n", b"X-Slow: y\r\n"),
        "slow body": (head, b" "),
        # Answers of 150 kB each are asked for and never read, until they are more than any kernel holds for a caller:
        # some are refused in a few bytes, as so many are asked for at once.
        "slow reader": ((head + body) * 50, head + body),
    }
    closed = asyncio.run(_besiege(gateway, kinds))
    assert closed == dict.fromkeys(kinds, OF_EACH_KIND)
    support.wait_for(lambda: _connections(gateway) == 0)
    assert gateway.http.get("/features/u1").status_code == 200


async def _besiege(gateway: GatewayProcess, kinds: dict[str, tuple[bytes, bytes]]) -> dict[str, int]:
    """How many of each kind the gateway has closed, while a caller who is not slow asks on."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=10, trust_env=False) as client:
        slow = {
            name: [asyncio.create_task(_slow(gateway, *parts)) for _ in range(OF_EACH_KIND)]
            for name, parts in kinds.items()
        }
        tasks = [task for of_kind in slow.values() for task in of_kind]
        while not all(task.done() for task in tasks):
            answer = await client.get("/features/u1")
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.02)
        return {name: sum(task.result() for task in of_kind) for name, of_kind in slow.items()}


async def _slow(gateway: GatewayProcess, first: bytes, drop: bytes) -> bool:
    """Send the first bytes at once and then some more each second, reading nothing; whether the other side closed."""
    loop, (host, port) = asyncio.get_running_loop(), gateway.url.removeprefix("http://").split(":")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        await loop.sock_connect(caller, (host, int(port)))
        closed = select.poll()
        closed.register(caller, select.POLLRDHUP)
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(caller, first)
                while not closed.poll(0):
                    await loop.sock_sendall(caller, drop)
                    await asyncio.sleep(0.5)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


def _connections(gateway: GatewayProcess) -> int:
    """How many requests the gateway is at."""
    return _metric(gateway, "in_flight_requests")


def _metric(gateway: GatewayProcess, series: str) -> int:
    """The value; 0 if there is no such series yet."""
    lines = httpx.get(f"{gateway.metrics_url}/metrics").text.splitlines()
    return next((int(float(line.split()[-1])) for line in lines if line.startswith(f"feature_gateway_{series} ")), 0)


def test_a_caller_that_asks_on_and_reads_nothing_is_answered_no_more(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    long_value = support.PROFILE | {"net_service": Value(string_val="x" * 200_000)}
    support.write(redis_client, "profile", support.user("u1"), long_value)
    most = 500  # 100 MB
    with _connected(gateway) as caller:
        for asked in range(1, most + 1):
            caller.sendall(U1)
            answered = _answered(gateway, asked)
            if answered < asked:
                break
        assert 1 < answered < most
    assert gateway.http.get("/features/u1").status_code == 200


def test_a_caller_that_sends_thousands_of_requests_at_once_is_let_go(gateway: GatewayProcess) -> None:
    before = memory_bytes(gateway.process.pid)
    with _connected(gateway) as caller, pytest.raises(ConnectionError):
        caller.sendall(U1 * 1_000_000)
    assert memory_bytes(gateway.process.pid) < before + 10 * MEGABYTE
    assert gateway.http.get("/features/u1").status_code == 200


@pytest.mark.parametrize("part", [b"a" * 1_000, b"Name: value\r\n" * 100], ids=["one header", "many headers"])
def test_a_head_without_end_is_refused(gateway: GatewayProcess, part: bytes) -> None:
    with _connected(gateway) as caller:
        caller.sendall(b"GET /features/u1 HTTP/1.1\r\nName: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                caller.sendall(part)
            pytest.fail("10 MB and more of a head were taken")
    assert gateway.http.get("/features/u1").status_code == 200


def test_a_long_body_in_many_small_parts_is_no_long_head(gateway: GatewayProcess) -> None:
    body = json.dumps(MANY).encode() + b" " * 500_000
    parts = (body[start : start + 1_000] for start in range(0, len(body), 1_000))
    assert gateway.http.post("/features", content=parts).status_code == 200


def _connected(gateway: GatewayProcess) -> socket.socket:
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = gateway.url.removeprefix("http://").split(":")
    caller.connect((host, int(port)))
    return caller


def _answered(gateway: GatewayProcess, wanted: int) -> int:
    """How many reads were answered: so many as are wanted, or fewer if for a second no more were."""
    answered, since = -1, time.monotonic()
    while answered < wanted and time.monotonic() < since + 1:
        now = _metric(gateway, 'http_requests_total{code="200",method="GET",route="/features/{id}"}')
        if now > answered:
            answered, since = now, time.monotonic()
    return answered


def test_callers_that_go_away_mid_request_leave_nothing_behind(gateway: GatewayProcess) -> None:
    async def vanish() -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        for number in range(300):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n" + (b"\r\n" if number % 2 else b""))
            await writer.drain()
            writer.transport.abort()

    asyncio.run(vanish())
    support.wait_for(lambda: _connections(gateway) == 0)
    assert gateway.http.get("/features/u1").json()["features"]["devices"] == 2
    assert "unexpected_error" not in gateway.log.read_text()


def test_a_redis_that_hangs_makes_no_queue_and_memory_does_not_grow(own_redis: RedisServer, tmp_path: Path) -> None:
    support.seed(redis.Redis(host=own_redis.host, port=own_redis.port, password=own_redis.password))
    environment = {"FEATURE_PLATFORM_REDIS_CONNECTION_STRING": own_redis.connection_string}
    with support.gateway_process(tmp_path / "log", **environment) as gateway:
        gateway.wait_ready()
        asyncio.run(_batches(gateway, 100))
        before = memory_bytes(gateway.process.pid)
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            answers = [answer for _ in range(5) for answer in asyncio.run(_batches(gateway, 100))]
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        problems = {support.refused(answer, 503)["title"] for answer in answers}
        assert problems == {"Online store unavailable", "Too many requests at once"}
        assert memory_bytes(gateway.process.pid) < before + 20 * MEGABYTE
        support.wait_for(lambda: gateway.http.get("/features/u1").status_code == 200)


async def _batches(gateway: GatewayProcess, count: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, trust_env=False, limits=limits) as client:
        return await asyncio.gather(*(client.post("/features", json=MANY) for _ in range(count)))


def test_a_new_plan_is_served_soon_and_no_request_to_what_was_there_fails(
    gateway: GatewayProcess, redis_client: redis.Redis
) -> None:
    services: dict[str, Any] = support.plan()["feature_services"]
    support.publish(redis_client, support.plan(feature_services=services | {"new": support.service("usage:devices")}))

    def is_served() -> bool:
        former = gateway.http.get("/features/u1", params={"feature_service": "main"})
        assert former.status_code == 200, former.text
        return gateway.http.get("/features/u1", params={"feature_service": "new"}).status_code == 200

    support.wait_for(is_served, LET_GO_SECONDS)
    assert gateway.http.get("/features/u1?feature_service=new").json() == {"user_id": "u1", "features": {"devices": 2}}
