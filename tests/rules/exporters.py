"""The exporters of the stores, as containers on this machine's own network."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from jobs.local.servers import PostgresServer, RedisServer
from jobs.process import LOOPBACK, free_port
from tests.process_support import wait_for

REDIS_EXPORTER = "oliver006/redis_exporter:v1.69.0"
POSTGRES_EXPORTER = "quay.io/prometheuscommunity/postgres-exporter:v0.17.1"


def redis_metrics(server: RedisServer) -> str:
    """What the exporter tells of this Redis."""
    address = f"--redis.addr=redis://{server.host}:{server.port}"
    with _exporter(REDIS_EXPORTER, address, REDIS_PASSWORD=server.password) as url:
        return _told(url, "redis_up 1")


def postgres_metrics(server: PostgresServer, database: str) -> str:
    """What the exporter tells of this Postgres, asked in `database`."""
    environment = {
        "DATA_SOURCE_URI": f"{server.host}:{server.port}/{database}?sslmode=disable",
        "DATA_SOURCE_USER": server.user,
        "DATA_SOURCE_PASS": server.password,
    }
    with _exporter(POSTGRES_EXPORTER, **environment) as url:
        return _told(url, "pg_up 1")


@contextmanager
def _exporter(image: str, *arguments: str, **environment: str) -> Iterator[str]:
    name, port = f"exporter-{uuid.uuid4().hex[:8]}", free_port()
    variables = [f"--env={variable}={value}" for variable, value in environment.items()]
    listening = f"--web.listen-address={LOOPBACK}:{port}"
    run = ["docker", "run", "--detach", "--rm", "--network=host", f"--name={name}", *variables, image]
    subprocess.run([*run, listening, *arguments], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"http://{LOOPBACK}:{port}/metrics"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, stdout=subprocess.DEVNULL)


def _told(url: str, sign: str) -> str:
    """The exposition, once it says that the store is reached."""
    told = ""

    def reached() -> bool:
        nonlocal told
        try:
            told = httpx.get(url, timeout=10.0).text
        except httpx.TransportError:
            return False
        return f"\n{sign}\n" in told

    wait_for(reached, f"{sign} at {url}")
    return told
