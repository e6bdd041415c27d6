"""What every server of the benchmark serves: customers in a Redis of our own, brought there by our own jobs."""

import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

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
        suffix = PROJECT.encode()
        keys = [key for key in self.client.scan_iter(count=5_000) if key.endswith(suffix) and key[0] == 1]
        start = len(b"\x01\0\0\0\x02\0\0\0\x07\0\0\0user_id\x02\0\0\0\0\0\0\0")
        found = sorted(key[start : -len(suffix)].decode() for key in keys)
        return random.Random(7).sample(found, min(ASKED, len(found)))


@contextmanager
def filled(folder: Path, customers: int) -> Iterator[World]:
    """So many customers of the month before this one, materialized. RuntimeError if a job fails."""
    platform = LocalPlatform(folder / "stores", folder / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        month = datetime.now(UTC).replace(day=1) - timedelta(days=1)
        exports = folder / "exports"
        generate: list[str | Path] = [
            sys.executable, "-m", "feature_repo.sample", "--output", exports, "--months", "1", "--customers",
            str(customers), "--start", f"{month:%Y-%m-%d}", "--format", "parquet",
        ]  # fmt: skip
        if start_child(generate, log=folder / "logs" / "sample.log", working_directory=REPOSITORY).wait() != 0:
            raise RuntimeError((folder / "logs" / "sample.log").read_text())
        for job, arguments in (("apply", ()), ("ingest", ("--all", exports)), ("materialize", ())):
            outcome = platform.run_job(job, *arguments)
            if outcome.exit_code != 0:
                raise RuntimeError(outcome.summary)
        yield World(platform, folder)
    finally:
        platform.stop()
