"""The whole platform as child processes: stores, jobs, gateway and feature server, sharing one environment."""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from psycopg import sql

from jobs import roles
from jobs.local.servers import PostgresServer, RedisServer
from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until

START_SECONDS = 120.0


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended: its exit code and its one-line summary."""

    exit_code: int
    summary: str


class LocalPlatform:
    """Postgres and Redis, started at once, and what runs on them; `stop` ends everything.

    Once `apply` has run, each job and the feature server connect as a login of their own, a member of their role alone.
    """

    def __init__(self, folder: Path, logs: Path, repository: Path, project: str) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._children: list[subprocess.Popen[bytes]] = []
        self._logins: dict[str, dict[str, str]] = {}
        self.postgres = PostgresServer(folder / "postgres")
        self.redis = RedisServer(folder / "redis")
        self.gateway_port, self.metrics_port, self.feature_server_port = free_port(), free_port(), free_port()
        self.environment = {
            **os.environ,
            **self.postgres.environment("postgres"),
            "FEATURE_PLATFORM_REPO": str(repository),
            "FEATURE_PLATFORM_PROJECT": project,
            "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": self.redis.connection_string,
            "FEATURE_PLATFORM_REDIS_TYPE": "redis",
        }

    @property
    def gateway_url(self) -> str:
        """Where the gateway answers."""
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def feature_server_url(self) -> str:
        """Where Feast's feature server answers."""
        return f"http://{LOOPBACK}:{self.feature_server_port}"

    def run_job(self, module: str, *arguments: str | Path) -> JobOutcome:
        """Run a job to its end; its log lines go to `logs`/MODULE.log."""
        with (self.logs / f"{module}.log").open("ab") as log:
            ended = subprocess.run(
                [sys.executable, "-m", f"jobs.{module}", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment_of(module),
                check=False,
            )
        if module == "apply" and ended.returncode == 0 and not self._logins:
            self._logins = {job: self._create_login(job) for job in roles.NEEDS}
        lines = ended.stdout.decode().strip().splitlines()
        return JobOutcome(ended.returncode, lines[-1] if lines else "")

    def start_gateway(self, settings: Mapping[str, str]) -> None:
        """Start the gateway with these settings beside the shared ones, and return when it is ready."""
        environment = {
            **self.environment,
            "FEATURE_PLATFORM_GATEWAY_HOST": LOOPBACK,
            "FEATURE_PLATFORM_GATEWAY_PORT": str(self.gateway_port),
            "FEATURE_PLATFORM_GATEWAY_METRICS_PORT": str(self.metrics_port),
            "FEATURE_PLATFORM_FEATURE_SERVER_URL": self.feature_server_url,
            **settings,
        }
        child = self._start("gateway", [sys.executable, "-m", "api"], environment)
        self._wait(child, "gateway", f"{self.gateway_url}/readyz")

    def start_feature_server(self) -> subprocess.Popen[bytes]:
        """Start Feast's feature server; `wait_for_feature_server` tells when it answers."""
        flags = ["--host", LOOPBACK, "--port", str(self.feature_server_port)]
        environment = self._environment_of("feature_server")
        return self._start("feature_server", [sys.executable, "-m", "jobs.feature_server", *flags], environment)

    def wait_for_feature_server(self, child: subprocess.Popen[bytes]) -> None:
        """Return when the feature server answers."""
        self._wait(child, "feature_server", f"{self.feature_server_url}/health")

    def stop(self) -> None:
        """End every child, the stores last."""
        for child in reversed(self._children):
            stop_child(child)
        self.redis.stop()
        self.postgres.stop()

    def _environment_of(self, job: str) -> dict[str, str]:
        return {**self.environment, **self._logins.get(job, {})}

    def _create_login(self, job: str) -> dict[str, str]:
        """A login that is a member of the job's role; libpq's variables for it."""
        user, password = f"local_{job}", secrets.token_urlsafe(12)
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
            sql.Identifier(user), sql.Literal(password), sql.Identifier(roles.role_of(job))
        )
        with self.postgres.connect() as connection:
            connection.execute(statement)
        return {"PGUSER": user, "PGPASSWORD": password}

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        child = start_child(command, log=self.logs / f"{name}.log", environment=environment)
        self._children.append(child)
        return child

    def _wait(self, child: subprocess.Popen[bytes], name: str, url: str) -> None:
        def answers() -> bool:
            try:
                return httpx.get(url, timeout=5.0).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(answers, child, name, self.logs / f"{name}.log", START_SECONDS)
