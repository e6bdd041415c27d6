"""What the gateway's tests share: a plan, hashes written with Feast's own encoder, the gateway as a child process."""

import contextlib
import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import redis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from api import app
from api.plan import Plan
from api.plan_reading import parse
from api.settings import Settings

REPOSITORY = Path(__file__).parents[1]
PROJECT = "streamflow"
DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)
MONTH_END = datetime(2024, 1, 31, tzinfo=UTC)
Client: TypeAlias = redis.Redis


def view(name: str, features: Mapping[str, str], keys: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """A feature view of a plan; ttl 45 days."""
    keys = {"user_id": "STRING"} if keys is None else keys
    return {
        "join_keys": [{"name": key, "type": keys[key]} for key in sorted(keys)],
        "ttl_seconds": 45 * 86400,
        "timestamp_field": f"_ts:{name}".encode().hex(),
        "description": f"about {name}",
        "owner": "team@example.org",
        "source": f"{name}_table",
        "tags": {},
        "features": {
            feature: {"field": _mmh3(f"{name}:{feature}").hex(), "type": kind, "description": "", "tags": {}}
            for feature, kind in features.items()
        },
    } | more


def service(*references: str) -> dict[str, Any]:
    """A feature service of a plan over `view:feature` references."""
    pairs = [reference.split(":") for reference in references]
    return {
        "description": "for tests",
        "owner": "team@example.org",
        "tags": {},
        "features": [
            {"name": feature, "full_name": f"{view}__{feature}", "feature_view": view, "feature": feature}
            for view, feature in pairs
        ],
    }


def plan(**more: Any) -> dict[str, Any]:
    """Two views over user_id, one over two join keys, one over none, one on demand; each with a service."""
    profile = {"months_active": "INT64", "monthly_fee": "DOUBLE", "paperless": "BOOL", "net_service": "STRING"}
    return {
        "format": 1,
        "project": PROJECT,
        "default_feature_service": "main",
        "feature_views": {
            "profile": view("profile", profile),
            "usage": view("usage", {"watch_hours": "DOUBLE", "devices": "INT64"}),
            "pair": view("pair", {"score": "DOUBLE"}, {"user_id": "STRING", "film": "INT64"}),
            "world": view("world", {"rate": "DOUBLE"}, {}),
        },
        "on_demand_feature_views": {
            "ratio": {
                "description": "",
                "owner": "",
                "tags": {},
                "features": {"hours_per_device": {"type": "DOUBLE", "description": "", "tags": {}}},
                "inputs": ["usage:watch_hours", "usage:devices"],
            }
        },
        "feature_services": {
            "main": service(*[f"profile:{name}" for name in profile], "usage:watch_hours", "usage:devices"),
            "pairs": service("profile:months_active", "pair:score"),
            "global": service("world:rate"),
            "computed": service("profile:months_active", "ratio:hours_per_device"),
        },
    } | more


def parsed(document: dict[str, Any]) -> Plan:
    """The plan as a gateway reads it; PlanRejected."""
    data = json.dumps(document).encode()
    return parse(data, hashlib.sha256(data).hexdigest(), PROJECT)


def publish(client: Client, document: dict[str, Any]) -> str:
    """Writes the plan as `apply` does; its version."""
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    version = hashlib.sha256(data).hexdigest()
    client.hset(f"feature-platform:{PROJECT}:plan", mapping={"version": version, "json": data})
    return version


def fill(client: Client, *views: str, watermark: datetime = NOW) -> None:
    """Says that the views were materialized."""
    text = watermark.strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"watermark": text, "rows": 2, "started_at": text, "finished_at": text, "features": {}}
    names = views or ("profile", "usage", "pair", "world")
    client.hset(f"feature-platform:{PROJECT}:status", mapping={name: json.dumps(entry) for name in names})


def show_runs(client: Client, runs: Mapping[str, Any]) -> None:
    """Tells of materializations, by the instant of their start, as `materialize` does."""
    client.hset(f"feature-platform:{PROJECT}:runs", mapping={start: json.dumps(end) for start, end in runs.items()})


def write(
    client: Client, view: str, keys: Mapping[str, Value], values: Mapping[str, Value], as_of: datetime = NOW
) -> None:
    """Writes a row of a view as Feast does, by Feast's encoder."""
    fields = {_mmh3(f"{view}:{name}"): value.SerializeToString() for name, value in values.items()}
    client.hset(redis_key(keys), mapping={f"_ts:{view}".encode(): timestamp(as_of), **fields})


def redis_key(keys: Mapping[str, Value]) -> Any:
    """An entity's key, by Feast's encoder."""
    names = sorted(keys)
    return _redis_key(PROJECT, EntityKey(join_keys=names, entity_values=[keys[name] for name in names]))


def timestamp(as_of: datetime) -> bytes:
    """A serialized protobuf Timestamp."""
    message = GetOnlineFeaturesResponse.FeatureVector().event_timestamps.add()
    message.FromDatetime(as_of)
    data: bytes = message.SerializeToString()
    return data


def user(name: str) -> dict[str, Value]:
    return {"user_id": Value(string_val=name)}


PROFILE = {
    "months_active": Value(int64_val=1),
    "monthly_fee": Value(double_val=29.85),
    "paperless": Value(bool_val=True),
    "net_service": Value(),
}
USAGE = {"watch_hours": Value(double_val=24.5), "devices": Value(int64_val=2)}


def seed(client: Client, as_of: datetime = NOW) -> None:
    """The plan, filled, and the user u1."""
    publish(client, plan())
    fill(client, watermark=as_of)
    write(client, "profile", user("u1"), PROFILE, as_of)
    write(client, "usage", user("u1"), USAGE, as_of)


def settings(**more: Any) -> Settings:
    """Settings of the test's own Redis."""
    return Settings(project=PROJECT, redis_connection_string=os.environ[CONNECTION], **more)


CONNECTION = "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"


class InProcess:
    """A blocking HTTP client of a gateway in this process."""

    def __init__(self, portal: BlockingPortal, http: httpx.AsyncClient) -> None:
        self._portal, self._http = portal, http

    def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        return self._portal.call(functools.partial(self._http.request, method, url, **more))

    def get(self, url: str, **more: Any) -> httpx.Response:
        return self.request("GET", url, **more)

    def post(self, url: str, **more: Any) -> httpx.Response:
        return self.request("POST", url, **more)


@contextlib.contextmanager
def in_process(wait: bool = True, **more: Any) -> Iterator[InProcess]:
    """A client of a gateway with these settings, by default once it is ready."""
    application = app.create(settings(**more))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://gateway")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(client),
        portal.wrap_async_context_manager(application.gateway.running()),
    ):
        http = InProcess(portal, client)
        if wait:
            wait_for(lambda: http.get("/readyz").status_code == 200)
        yield http


def refused(response: httpx.Response, status: int, text: str = "") -> dict[str, Any]:
    """The problem, which is a whole RFC 9457 document without a word of Python's."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert text in problem["detail"], problem["detail"]
    for word in ("Traceback", "Error:", "pydantic", "object at 0x", "NoneType"):
        assert word not in response.text
    if status == 503:
        assert int(response.headers["retry-after"]) > 0
    return problem


class Caller:
    """A connection that sends bytes and reads answers as they come."""

    def __init__(self, gateway: "GatewayProcess") -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=10)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, of_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer; that to HEAD has no body."""
        status = int(self._file.readline().split()[1])
        lines = iter(self._file.readline, b"\r\n")
        headers = dict(line.decode().strip().split(": ", 1) for line in lines)
        return status, headers, b"" if of_head else self._file.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self._socket.close()


MAIN = ("-m", "api")


class GatewayProcess:
    """`python -m api`, or another program around it, on free ports."""

    def __init__(self, log: Path, program: Sequence[str] = MAIN, **environment: str) -> None:
        self.log = log
        ports = {"FEATURE_PLATFORM_GATEWAY_PORT": "0", "FEATURE_PLATFORM_GATEWAY_METRICS_PORT": "0"}
        self.started = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program], cwd=REPOSITORY, stderr=output, env={**os.environ, **ports, **environment}
            )
        line = wait_for(lambda: next((entry for entry in self.events() if entry["event"] == "gateway_listening"), None))
        self.url, self.metrics_url = (f"http://127.0.0.1:{line[name]}" for name in ("port", "metrics_port"))
        self.http = httpx.Client(base_url=self.url, timeout=5)

    def events(self) -> list[dict[str, Any]]:
        """The log lines so far."""
        whole = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in whole if line.startswith("{") and line.endswith("\n")]

    def wait_ready(self) -> float:
        """Seconds from the start until it is ready."""
        wait_for(lambda: self.http.get("/readyz").status_code == 200)
        return time.monotonic() - self.started

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()


@contextlib.contextmanager
def gateway_process(log: Path, program: Sequence[str] = MAIN, **environment: str) -> Iterator[GatewayProcess]:
    """A gateway that is stopped at the end."""
    gateway = GatewayProcess(log, program, **environment)
    try:
        yield gateway
    finally:
        gateway.stop()


Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found | None], seconds: float = 15) -> Found:
    """The first truthy result; fails after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.01)
