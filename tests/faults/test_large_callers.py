"""Whatever callers send, and however many they are, the gateway stays within its memory and serves the others."""

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from tests import gateway_support as support
from tests.bench.processes import memory_bytes, peak_memory_bytes
from tests.gateway_support import Caller, GatewayProcess, refused

MEBIBYTE = 1024 * 1024
MEMORY_LIMIT = 192 * MEBIBYTE
"""The chart's limit of a gateway's container."""
UPLOADS, UPLOAD_BYTES = 200, 4 * MEBIBYTE
MOST_CONNECTIONS = 1_024
PATIENCE = 90.0
SMALL = json.dumps({"entities": {"user_id": ["u1"]}}).encode()
U1 = b"GET /features/u1 HTTP/1.1\r\nHost: x\r\n\r\n"
Found = TypeVar("Found")


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the connections of a test need."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(4_096, before[1])), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def besieged(gateway: GatewayProcess, callers: list[Awaitable[Found]]) -> list[Found]:
    """What becomes of the callers, while others who ask for little are answered rightly all the time."""
    large_but_allowed = SMALL + b" " * 60_000
    async with httpx.AsyncClient(base_url=gateway.url, timeout=20, trust_env=False) as client:
        right = (await client.get("/features/u1")).content
        tasks = [asyncio.ensure_future(caller) for caller in callers]
        while not all(task.done() for task in tasks):
            answer = await client.get("/features/u1")
            assert (answer.status_code, answer.content) == (200, right)
            assert (await client.post("/features", content=large_but_allowed)).status_code == 200
            await asyncio.sleep(0.05)
        return [await task for task in tasks]


def head(*headers: str) -> bytes:
    return "\r\n".join(["POST /features HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def slow_upload(gateway: GatewayProcess, chunked: bool) -> int:
    """Nearly all of a body at once, and then next to nothing: the status of the answer."""
    most = UPLOAD_BYTES - 100_000
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {UPLOAD_BYTES}"
    sent = head(length) + (b"%x\r\n" % UPLOAD_BYTES if chunked else b"") + SMALL.ljust(most)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(sent), 65_536):
            if not answer.done():
                writer.write(sent[start : start + 65_536])
                await writer.drain()
        while not answer.done():
            writer.write(b" ")
            await writer.drain()
            await asyncio.wait([answer], timeout=0.5)
    told = await asyncio.wait_for(answer, PATIENCE)
    writer.close()
    assert b"content-type: application/problem+json" in told
    return int(told.split()[1])


def test_two_hundred_slow_uploads_stay_within_the_memory_limit_and_nobody_else_notices(
    gateway: GatewayProcess,
) -> None:
    async def siege() -> Counter[int]:
        return Counter(await besieged(gateway, [slow_upload(gateway, bool(n % 2)) for n in range(UPLOADS)]))

    statuses = asyncio.run(siege())
    assert set(statuses) == {408, 503}
    assert statuses[503] > UPLOADS / 2
    assert statuses[408] >= 1
    assert peak_memory_bytes(gateway.process.pid) < MEMORY_LIMIT
    everything_is_given_back(gateway)
    assert peak_memory_bytes(gateway.process.pid) < MEMORY_LIMIT


def everything_is_given_back(gateway: GatewayProcess) -> None:
    """There is room again for as many whole large bodies as there ever is."""
    metrics = f"{gateway.metrics_url}/metrics"
    support.wait_for(lambda: "feature_gateway_in_flight_requests 0.0" in httpx.get(metrics).text)
    body = SMALL.ljust(UPLOAD_BYTES - 1)
    callers = [Caller(gateway) for _ in range(8)]
    for caller in callers:
        caller.send(head(f"Content-Length: {UPLOAD_BYTES}") + body)
    support.wait_for(lambda: "feature_gateway_in_flight_requests 8.0" in httpx.get(metrics).text)
    for caller in callers:
        caller.send(b" ")
        assert caller.answer()[0] == 200
        caller.close()


def test_large_bodies_of_callers_that_go_away_or_are_refused_or_answered_are_given_back(
    gateway: GatewayProcess,
) -> None:
    for number in range(100):
        caller = Caller(gateway)
        if number % 2:
            caller.send(head(f"Content-Length: {UPLOAD_BYTES}") + b" " * MEBIBYTE)
        else:
            caller.send(head("Transfer-Encoding: chunked") + b"100000\r\n" + b" " * MEBIBYTE + b"\r\nnonsense\r\n")
            assert caller.answer()[0] == 400
        caller.close()
        assert gateway.http.post("/features", content=b"{" + b" " * 2 * MEBIBYTE).status_code == 422
        assert gateway.http.post("/features", content=SMALL + b" " * 2 * MEBIBYTE).status_code == 200
    everything_is_given_back(gateway)


def test_a_body_without_room_is_told_so_though_others_hold_what_there_is(gateway: GatewayProcess) -> None:
    holders = [Caller(gateway) for _ in range(8)]
    for holder in holders:
        holder.send(head(f"Content-Length: {UPLOAD_BYTES}") + b" " * (UPLOAD_BYTES - 1))
    metrics = f"{gateway.metrics_url}/metrics"
    support.wait_for(lambda: "feature_gateway_in_flight_requests 8.0" in httpx.get(metrics).text)
    problem = refused(gateway.http.post("/features", content=SMALL.ljust(MEBIBYTE)), 503, "large bodies")
    assert problem["title"] == "Too many requests at once"
    assert gateway.http.post("/features", content=SMALL.ljust(60_000)).status_code == 200
    for holder in holders:
        holder.close()
    support.wait_for(lambda: gateway.http.post("/features", content=SMALL.ljust(MEBIBYTE)).status_code == 200)


def test_a_caller_without_a_key_is_refused_before_its_body_is_read(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log", FEATURE_PLATFORM_API_KEY_HASHES="00" * 32) as gateway:
        gateway.wait_ready()
        callers = [Caller(gateway) for _ in range(50)]
        before = peak_memory_bytes(gateway.process.pid)
        for caller in callers:
            caller.send(head(f"Content-Length: {UPLOAD_BYTES}", "Expect: 100-continue"))
            assert caller.answer()[0] == 401
            caller.send(b" " * (UPLOAD_BYTES - 1))
        assert peak_memory_bytes(gateway.process.pid) < before + 10 * MEBIBYTE
        for caller in callers:
            caller.send(b" " + U1)
            assert caller.answer()[0] == 401


@pytest.mark.parametrize("value", [b"[]", b"{}", b'{"a":1}', b"1", b'"ab"'], ids=str)
def test_a_body_of_a_million_values_is_refused_before_they_are_made(gateway: GatewayProcess, value: bytes) -> None:
    before = memory_bytes(gateway.process.pid)
    many = b'{"entities":{"user_id":[' + b",".join([value] * ((UPLOAD_BYTES - 100) // (len(value) + 1))) + b"]}}"
    for path in ("/features", "/get-online-features"):
        refused(gateway.http.post(path, content=many), 413, "at most 1000 entities")
    assert peak_memory_bytes(gateway.process.pid) < before + 40 * MEBIBYTE


def test_ids_that_hold_commas_and_brackets_are_no_values(gateway: GatewayProcess) -> None:
    ids = [f'{number}{{[,"\\' + ",[{" * 330 for number in range(1_000)]
    answer = gateway.http.post("/features", json={"entities": {"user_id": ids}, "features": ["devices"]})
    assert answer.status_code == 200
    assert [result["user_id"] for result in answer.json()["results"]] == ids


def test_heads_that_do_not_end_stay_within_the_memory_limit(gateway: GatewayProcess, many_files: None) -> None:
    async def slow_head(part: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /features/u1 HTTP/1.1\r\n" + part * (250_000 // len(part)))
            await writer.drain()
            await reader.read(1)
        writer.close()

    parts = [b"a:b\r\n", b"x" * 1_000 + b":" + b"y" * 1_000 + b"\r\n"]
    asyncio.run(besieged_by(gateway, [slow_head(parts[number % 2]) for number in range(400)]))
    assert peak_memory_bytes(gateway.process.pid) < MEMORY_LIMIT


async def besieged_by(gateway: GatewayProcess, callers: list[Awaitable[None]]) -> None:
    await besieged(gateway, callers)


def test_requests_that_are_sent_without_waiting_stay_within_the_memory_limit(
    gateway: GatewayProcess, many_files: None
) -> None:
    async def pipeliner() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        request = head(f"Content-Length: {len(SMALL)}", *[f"h{number}: x" for number in range(100)]) + SMALL
        with contextlib.suppress(ConnectionError):
            for _ in range(4):
                writer.write(request * 50)
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    asyncio.run(besieged_by(gateway, [pipeliner() for _ in range(400)]))
    assert peak_memory_bytes(gateway.process.pid) < MEMORY_LIMIT


def test_callers_beyond_the_most_are_told_so_and_the_probes_are_answered_whoever_else_is_there(
    gateway: GatewayProcess, many_files: None
) -> None:
    gateway.http.close()
    idle = [Caller(gateway) for _ in range(MOST_CONNECTIONS)]
    for caller in idle:
        caller.send(U1)
        assert caller.answer()[0] == 200
    silent = [socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) for _ in range(300)]
    for path in ("/livez", "/readyz", "/health"):
        with fresh(gateway, path) as answer:
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    with fresh(gateway, "/features/u1") as answer:
        assert refused(answer, 503)["title"] == "Too many connections"
        assert answer.headers["connection"] == "close"
    idle[0].send(U1)
    assert idle[0].answer()[0] == 200
    assert httpx.get(f"{gateway.metrics_url}/metrics").status_code == 200
    for connection in silent:
        connection.close()
    for caller in idle[:10]:
        caller.close()
    support.wait_for(lambda: httpx.get(f"{gateway.url}/features/u1").status_code == 200)
    assert peak_memory_bytes(gateway.process.pid) < MEMORY_LIMIT
    for caller in idle[10:]:
        caller.close()


@contextlib.contextmanager
def fresh(gateway: GatewayProcess, path: str) -> Iterator[httpx.Response]:
    """The answer on a connection of its own."""
    with httpx.Client(base_url=gateway.url, timeout=5, trust_env=False) as client:
        yield client.get(path)


WIDE, ENTITIES = 1_000, 1_000
NAMES = [f"feature_{number:03}" for number in range(WIDE)]


@pytest.fixture
def wide(redis_client: redis.Redis, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway over a service of a thousand features, which ten customers have."""
    views = support.plan()["feature_views"] | {"wide": support.view("wide", dict.fromkeys(NAMES, "DOUBLE"))}
    services = support.plan()["feature_services"] | {"wide": support.service(*[f"wide:{name}" for name in NAMES])}
    support.seed(redis_client)
    support.publish(redis_client, support.plan(feature_views=views, feature_services=services))
    support.fill(redis_client, *views)
    for customer in range(10):
        values = {name: Value(double_val=customer + place / 7) for place, name in enumerate(NAMES)}
        support.write(redis_client, "wide", support.user(f"w{customer}"), values)
    environment = {"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"}
    with support.gateway_process(tmp_path / "log", **environment) as gateway:
        gateway.wait_ready()
        yield gateway


USERS = [f"w{number % 10}" for number in range(ENTITIES)]
LARGEST: dict[str, tuple[str, dict[str, Any]]] = {
    "metadata": ("/features", {"entities": {"user_id": USERS}, "feature_service": "wide", "metadata": True}),
    "plain": ("/features", {"entities": {"user_id": USERS}, "feature_service": "wide"}),
    "feast": ("/get-online-features", {"entities": {"user_id": USERS}, "feature_service": "wide"}),
    "feast, one unknown": (
        "/get-online-features",
        {"entities": {"user_id": [*USERS[:-1], "nobody"]}, "feature_service": "wide"},
    ),
}


@pytest.mark.parametrize("largest", LARGEST.values(), ids=LARGEST)
def test_the_largest_answer_there_is_stays_within_the_memory_limit_while_others_are_served(
    wide: GatewayProcess, largest: tuple[str, dict[str, Any]]
) -> None:
    path, body = largest
    started = time.monotonic()
    told, pauses = asyncio.run(meanwhile(wide, path, body))
    took = time.monotonic() - started
    assert peak_memory_bytes(wide.process.pid) < MEMORY_LIMIT
    assert max(pauses) < took / 4
    judge(wide, path, body, told)


async def meanwhile(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> tuple[bytes, list[float]]:
    """The answer, and how long each read took that another caller made at the same time."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=120, trust_env=False) as client:
        task, pauses = asyncio.create_task(client.post(path, json=body)), []
        while not task.done():
            before = time.monotonic()
            assert (await client.get("/features/u1")).status_code == 200
            pauses.append(time.monotonic() - before)
        answer = await task
        assert answer.status_code == 200, answer.text
        return answer.content, pauses


def judge(gateway: GatewayProcess, path: str, body: dict[str, Any], told: bytes) -> None:
    """The large answer says of each customer what a small one says."""
    some = sorted(set(body["entities"]["user_id"]))
    few = gateway.http.post(path, json=body | {"entities": {"user_id": some}}).json()
    results = json.loads(told)["results"]
    if path == "/features":
        by_id = {result["user_id"]: result for result in few["results"]}
        assert results == [by_id[user] for user in body["entities"]["user_id"]]
        return
    places = [some.index(user) for user in body["entities"]["user_id"]]
    for result, of_few in zip(results, few["results"], strict=True):
        assert result == {part: [of_few[part][place] for place in places] for part in of_few}


def test_several_of_the_largest_answers_at_once_wait_for_each_other(wide: GatewayProcess) -> None:
    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=wide.url, timeout=120, trust_env=False) as client:
            path, body = LARGEST["plain"]
            calls = [client.post(path, json=body | {"metadata": bool(n % 2)}) for n in range(4)]
            answers = await asyncio.gather(*calls)
            for answer in answers:
                if answer.status_code != 200:
                    refused(answer, 503, "large answers")
            return [answer.status_code for answer in answers]

    assert 200 in asyncio.run(ask())
    assert peak_memory_bytes(wide.process.pid) < MEMORY_LIMIT


def test_those_who_do_not_read_large_answers_hold_no_more_than_there_is(wide: GatewayProcess, many_files: None) -> None:
    users = [f"w{number % 10}" for number in range(100)]
    body = json.dumps({"entities": {"user_id": users}, "feature_service": "wide"}).encode()

    async def ask_and_not_read() -> None:
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(caller, ("127.0.0.1", int(wide.url.rpartition(":")[2])))
            await loop.sock_sendall(caller, head(f"Content-Length: {len(body)}") + body)
            await asyncio.sleep(5)

    asyncio.run(besieged_by(wide, [ask_and_not_read() for _ in range(150)]))
    assert peak_memory_bytes(wide.process.pid) < MEMORY_LIMIT
