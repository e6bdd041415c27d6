"""The servers of the serving benchmark: each one process on a loopback port, started as its makers advise."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until
from tests.bench.world import PROJECT, World
from tests.conftest import REPOSITORY

START_SECONDS = 120.0
SERVICE = "churn_v1"
OURS, FEAST, FROZEN = "gateway", "feast serve", "feast serve, frozen"
PLAIN, CONSTANT, BARE = "FastAPI, redis.asyncio", "FastAPI, constant", "ASGI, constant"
_APPLICATIONS = {PLAIN: "plain", CONSTANT: "constant", BARE: "bare"}


@dataclass(frozen=True)
class Server:
    """One that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float
    """From the start of the process to its first right answer."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"


def feast(world: World, frozen: bool) -> Any:
    """`feast serve`, tuned: one worker, never recycled, a registry read once an hour, no access log."""
    program = ["-m", "tests.bench.feast_frozen"] if frozen else ["-c", "from feast.cli.cli import cli; cli()"]
    repository = world.folder / "feast"
    if not repository.exists():
        repository.mkdir()
        # Names of its own environment, so that the registry is only read.
        text = (REPOSITORY / "feature_repo" / "feature_store.yaml").read_text()
        (repository / "feature_store.yaml").write_text(text.replace("cache_ttl_seconds: 60", "cache_ttl_seconds: 3600"))
    flags = ["--chdir", str(repository), "serve", "--host", LOOPBACK, "--workers", "1", "--max-requests", "0",
             "--max-requests-jitter", "0", "--no-access-log", "--registry_ttl_sec", "3600"]  # fmt: skip
    name = FROZEN if frozen else FEAST
    return _server(world, name, lambda port: [sys.executable, *program, *flags, "--port", str(port)], "/health")


def application(world: World, name: str, body: bytes) -> Any:
    """The one of tests.bench.competitors that has this name, by uvicorn on uvloop and httptools."""
    plan = world.plan
    views, features = plan["feature_views"], plan["feature_services"][SERVICE]["features"]
    prefix = b"\x01\0\0\0\x02\0\0\0\x07\0\0\0user_id\x02\0\0\0"
    read = {
        "redis": f"redis://:{world.platform.redis.password}@{LOOPBACK}:{world.platform.redis.port}/0",
        "prefix": prefix.hex(), "suffix": PROJECT.encode().hex(), "names": [feature["name"] for feature in features],
        "fields": [views[feature["feature_view"]]["features"][feature["feature"]]["field"] for feature in features],
    }  # fmt: skip
    flags = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    return _server(
        world,
        name,
        lambda port: [
            sys.executable,
            "-m",
            "uvicorn",
            f"tests.bench.competitors:{_APPLICATIONS[name]}",
            f"--port={port}",
            *flags,
        ],
        "/features/x",
        {"BENCH_BODY": body.decode(), "BENCH_READ": json.dumps(read)},
    )


def gateway(world: World) -> Any:
    """Ours, as it is deployed: metrics, validation, statuses and freshness are on."""
    environment = {"FEATURE_PLATFORM_GATEWAY_HOST": LOOPBACK, "FEATURE_PLATFORM_GATEWAY_METRICS_PORT": "0"}
    return _server(
        world,
        OURS,
        lambda _: [sys.executable, "-m", "api"],
        "/readyz",
        environment,
        "FEATURE_PLATFORM_GATEWAY_PORT",
    )


@contextmanager
def _server(
    world: World, name: str, command: Any, path: str, environment: Mapping[str, str] | None = None, port_name: str = ""
) -> Iterator[Server]:
    port = free_port()
    variables = {**os.environ, **world.platform.environment, **(environment or {})}
    if port_name:
        variables[port_name] = str(port)
    log = world.folder / "logs" / f"{name.replace(' ', '-')}.log"
    url = f"http://{LOOPBACK}:{port}{path}"
    started = time.perf_counter()
    child = start_child(command(port), log=log, environment=variables, working_directory=REPOSITORY)

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=5.0, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, child, name, log, START_SECONDS)
        yield Server(name, port, child, time.perf_counter() - started)
    finally:
        stop_child(child)
