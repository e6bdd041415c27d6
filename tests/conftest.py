"""Real servers for the whole suite: one Postgres and one Redis per pytest process, a fresh database per test."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from jobs.local.servers import PostgresServer, RedisServer
from jobs.migrations import migrate_ledger, migrate_repository
from tests.databases import clone
from tests.offline import OfflineStore
from tests.redis_kinds import RedisChild, StartRedis

if TYPE_CHECKING:
    from tests.gateway_support import GatewayProcess

REPOSITORY = Path(__file__).parents[1]
PROJECT = "streamflow"


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder that also an unprivileged server can reach (pytest's own is closed to other users)."""
    folder = Path(tempfile.mkdtemp(prefix="feature-platform-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(servers_folder / "postgres")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(servers_folder / "redis")
    yield server
    server.stop()


@pytest.fixture
def own_redis(servers_folder: Path, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone, which may stop and restart it."""
    server = RedisServer(servers_folder / tmp_path.name)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped Feast repository and project name, as jobs and gateway find them."""
    monkeypatch.setenv("FEATURE_PLATFORM_REPO", str(REPOSITORY / "feature_repo"))
    monkeypatch.setenv("FEATURE_PLATFORM_PROJECT", PROJECT)
    return REPOSITORY / "feature_repo"


@pytest.fixture
def database(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh, empty database; libpq's variables name it."""
    with clone(postgres_server, "template1", monkeypatch) as name:
        yield name


@pytest.fixture
def migrated_database(
    postgres_server: PostgresServer, migrated_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A fresh database with all migrations applied and no Feast objects; libpq's variables name it."""
    with clone(postgres_server, migrated_template, monkeypatch) as name:
        yield name


@pytest.fixture
def applied_database(
    postgres_server: PostgresServer, applied_template: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A fresh database in which `jobs.apply` has been run; libpq's variables name it."""
    with clone(postgres_server, applied_template, monkeypatch) as name:
        yield name


@pytest.fixture
def platform(
    applied_database: str, redis_client: redis.Redis, postgres_server: PostgresServer
) -> Iterator[OfflineStore]:
    """An applied, empty platform: its offline store to fill by hand, and an empty Redis (fixture `redis_client`)."""
    with postgres_server.connect(applied_database) as opened:
        yield OfflineStore(opened)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    with postgres_server.connect() as admin:
        admin.execute("CREATE DATABASE migrated_template")
    with postgres_server.connect("migrated_template") as opened:
        migrate_ledger(opened)
        migrate_repository(opened, REPOSITORY / "feature_repo")
    return "migrated_template"


@pytest.fixture(scope="session")
def applied_template(postgres_server: PostgresServer, redis_server: RedisServer) -> str:
    # A process of its own: a connection of ours to the template would keep it from being copied.
    with postgres_server.connect() as admin:
        admin.execute("CREATE DATABASE applied_template")
    with redis.Redis(host=redis_server.host, port=redis_server.port, password=redis_server.password) as client:
        client.flushall()
    environment = {
        **os.environ,
        **postgres_server.environment("applied_template"),
        "FEATURE_PLATFORM_REPO": str(REPOSITORY / "feature_repo"),
        "FEATURE_PLATFORM_PROJECT": PROJECT,
        "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": redis_server.connection_string,
    }
    subprocess.run([sys.executable, "-m", "jobs.apply"], env=environment, cwd=REPOSITORY, check=True)
    return "applied_template"


@pytest.fixture
def connection(postgres_server: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    """A superuser connection to the database of fixture `database`."""
    with postgres_server.connect(database) as opened:
        yield opened


@pytest.fixture
def redis_children(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts further Redis servers, which end with the test."""
    started: list[RedisChild] = []

    def start(*arguments: str, configuration: str = "", password: str = "") -> RedisChild:
        folder = tmp_path / f"redis-{len(started)}"
        started.append(RedisChild(folder, *arguments, configuration=configuration, password=password))
        return started[-1]

    yield start
    for child in started:
        child.stop()


@pytest.fixture
def redis_client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """An empty Redis; the platform's settings name it."""
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", redis_server.connection_string)
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_TYPE", "redis")
    client = redis.Redis(host=redis_server.host, port=redis_server.port, password=redis_server.password)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def gateway(redis_client: redis.Redis, tmp_path: Path) -> Iterator["GatewayProcess"]:
    """A gateway that is ready, over the entities of `gateway_support`."""
    from tests import gateway_support as support  # brings Feast, which most tests do without

    support.seed(redis_client)
    with support.gateway_process(tmp_path / "log") as started:
        started.wait_ready()
        yield started
