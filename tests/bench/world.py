"""What every server of the benchmark serves: customers in a Redis of our own, brought there by our own jobs."""

import json
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import redis

from jobs.local.platform import LocalPlatform
from jobs.process import start_child
from tests.bytes_redis import BytesRedis
from tests.conftest import REPOSITORY

PROJECT = "bench"
ASKED = 10_000


@dataclass(frozen=True)
class World:
    """Stores with customers in them, and a folder for logs."""

    platform: LocalPlatform
    folder: Path

    @cached_property
    def client(self) -> BytesRedis:
        """A client of the Redis."""
        server = self.platform.redis
        client: Any = redis.Redis(host=server.host, port=server.port, password=server.password)
        found: BytesRedis = client
        return found

    @cached_property
    def plan(self) -> dict[str, Any]:
        """The serving plan that `apply` published."""
        document: dict[str, Any] = json.loads(self.client.hget(f"feature-platform:{PROJECT}:plan", "json") or b"{}")
        return document

    @cached_property
    def customers(self) -> list[str]:
        """Some of the customers, in an order that no cache likes."""
        start = len(b"\x01\0\0\0\x02\0\0\0\x07\0\0\0user_id\x02\0\0\0\0\0\0\0")
        found = sorted(key[start : -len(PROJECT)].decode() for key in self.entity_keys())
        return random.Random(7).sample(found, min(ASKED, len(found)))

    def offline(self) -> psycopg.Connection:
        """An autocommit session in the offline store, in UTC."""
        connection = self.platform.postgres.connect()
        connection.execute("SET search_path = offline; SET TIME ZONE 'UTC'")
        return connection

    def entity_keys(self) -> Iterator[bytes]:
        """The keys of the entities that are in Redis now; the platform's own keys are none."""
        suffix = PROJECT.encode()
        return (key for key in self.client.scan_iter(count=5_000) if key.endswith(suffix) and key[0] == 1)


@contextmanager
def filled(folder: Path, customers: int) -> Iterator[World]:
    """So many customers of the month before this one, materialized. RuntimeError if a job fails."""
    with ingested(folder, customers, months=1) as world:
        run_job(world.platform, "materialize")
        yield world


@contextmanager
def ingested(folder: Path, customers: int, months: int) -> Iterator[World]:
    """So many customers in the offline store, each month-end up to this month's start. RuntimeError if a job fails."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # Postgres runs as a user of its own where we are root
    platform = LocalPlatform(folder / "stores", folder / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        exports = folder / "exports"
        generate: list[str | Path] = [
            sys.executable, "-m", "feature_repo.sample", "--output", exports, "--months", str(months), "--customers",
            str(customers), "--start", f"{month_end(months):%Y-%m-%d}", "--format", "parquet",
        ]  # fmt: skip
        if start_child(generate, log=folder / "logs" / "sample.log", working_directory=REPOSITORY).wait() != 0:
            raise RuntimeError((folder / "logs" / "sample.log").read_text())
        run_job(platform, "apply")
        run_job(platform, "ingest", "--all", exports)
        shutil.rmtree(exports)
        yield World(platform, folder)
    finally:
        platform.stop()


def month_end(months_ago: int) -> datetime:
    """The last day of the month so many before this one, 00:00 UTC; 1: of last month."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for _ in range(months_ago):
        end = end.replace(day=1) - timedelta(days=1)
    return end


def run_job(platform: LocalPlatform, job: str, *arguments: str | Path) -> None:
    """RuntimeError, with its one line, if the job fails."""
    outcome = platform.run_job(job, *arguments)
    if outcome.exit_code != 0:
        raise RuntimeError(outcome.summary)
