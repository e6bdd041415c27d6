"""`wait_for_stores` ends when all answer, and when apply has been run for this release; until then it says why not."""

import itertools
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from jobs import applied
from jobs.applied import Applied
from jobs.local.servers import PostgresServer, RedisServer
from jobs.process import LOOPBACK, free_port
from jobs.roles import NEEDS, role_of
from tests.bytes_redis import BytesRedis
from tests.conftest import PROJECT, REPOSITORY
from tests.integration.job_process import JobProcess, run, started
from tests.redis_kinds import SLOTS, StartRedis

WAIT = "jobs.wait_for_stores"
REDIS = "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that needs no Redis."""
    monkeypatch.delenv(REDIS, raising=False)


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"


def waiting(job: JobProcess, store: str, reason: str) -> None:
    """Return once the job has said that it waits for the store for this reason."""
    while True:
        said = job.wait_for_event("waiting")["reasons"].get(store, "")
        if reason in said:
            return


# --- both stores


def test_when_both_answer_it_ends_at_once_with_one_line(database: str, redis_client: BytesRedis) -> None:
    ended = run(WAIT)
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"wait_for_stores: done: Postgres and Redis answered after \d\.\d s\n", ended.out)


@pytest.mark.usefixtures("no_redis")
def test_without_a_connection_string_it_does_not_ask_for_redis(database: str) -> None:
    assert run(WAIT).out.startswith("wait_for_stores: done: Postgres answered after ")


def test_a_redis_that_comes_up_later_is_waited_for(database: str, servers_folder: Path, tmp_path: Path) -> None:
    redis = RedisServer(servers_folder / tmp_path.name)
    redis.stop()
    with started(WAIT, environment={REDIS: redis.connection_string}) as job:
        waiting(job, "Redis", "Connection refused")
        try:
            redis.start()
            ended = job.end()
        finally:
            redis.stop()
    assert ended.code == 0


@pytest.mark.usefixtures("no_redis")
def test_a_postgres_that_comes_up_later_is_waited_for(database: str, servers_folder: Path, tmp_path: Path) -> None:
    server = PostgresServer(servers_folder / tmp_path.name)
    server.stop()
    with started(WAIT, environment=server.environment("postgres")) as job:
        waiting(job, "Postgres", "Connection refused")
        try:
            server.start()
            ended = job.end()
        finally:
            server.stop()
    assert ended.code == 0


@pytest.mark.usefixtures("no_redis")
def test_a_login_that_is_made_later_is_waited_for_and_the_refusal_is_said(
    database: str, connection: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    environment = {**postgres_server.environment(database), "PGUSER": "made_later", "PGPASSWORD": "correct-horse"}
    with started(WAIT, environment=environment) as job:
        waiting(job, "Postgres", 'password authentication failed for user "made_later"')
        connection.execute("CREATE ROLE made_later LOGIN PASSWORD 'correct-horse'")
        try:
            ended = job.end()
        finally:
            connection.execute("DROP ROLE made_later")
    assert ended.code == 0
    assert "correct-horse" not in ended.out + ended.err


def test_a_wrong_password_of_redis_is_said_and_not_shown(database: str, redis_server: RedisServer) -> None:
    settings = {REDIS: f"{LOOPBACK}:{redis_server.port}", "FEATURE_PLATFORM_REDIS_PASSWORD": "wrong-horse"}
    ended = run(WAIT, "--timeout", "2", environment=settings)
    assert ended.code == 1
    assert "Redis: invalid username-password pair or user is disabled" in ended.out
    assert "wrong-horse" not in ended.out + ended.err


@pytest.mark.parametrize("hangs", ["Postgres", "Redis"])
def test_a_store_that_hangs_ends_the_wait_in_time_and_hides_no_other(
    database: str, redis_server: RedisServer, hangs: str
) -> None:
    with silent() as address:
        host, _, port = address.partition(":")
        places = {"Postgres": {"PGHOST": host, "PGPORT": port, REDIS: redis_server.connection_string},
                  "Redis": {REDIS: address}}  # fmt: skip
        ended = run(WAIT, "--timeout", "6", environment=places[hangs])
    assert ended.code == 1
    (after,) = re.findall(rf"failed \(exit 1\): time was up after (\S+) s: {hangs}: ", ended.out)
    assert 6 <= float(after) < 8
    assert set(ended.lines[-2]["reasons"]) == {hangs}, "the other one has answered"


def test_while_nothing_changes_it_says_why_it_waits_every_five_seconds(database: str) -> None:
    ended = run(WAIT, "--timeout", "14", environment={REDIS: f"{LOOPBACK}:{free_port()}"})
    assert ended.code == 1
    said = [line for line in ended.lines if line["event"] == "waiting" and set(line["reasons"]) == {"Redis"}]
    assert all("Connection refused" in line["reasons"]["Redis"] for line in said)
    instants = [datetime.fromisoformat(line["time"]).timestamp() for line in said]
    assert len(instants) >= 2
    assert all(5 <= later - earlier < 7 for earlier, later in itertools.pairwise(instants))


@pytest.mark.parametrize("kind", ["redis", "redis_sentinel", "redis_cluster"])
def test_why_one_try_failed_is_said_before_the_next_and_no_store_that_answered_beside_it(
    database: str, kind: str
) -> None:
    nowhere = {REDIS: f"{LOOPBACK}:{free_port()}", "FEATURE_PLATFORM_REDIS_TYPE": kind}
    ended = run(WAIT, "--timeout", "2", environment=nowhere)
    assert set(ended.lines[-2]["reasons"]) == {"Redis"}
    assert ended.lines[-2]["reasons"]["Redis"] != "has not answered yet"


def test_a_cluster_is_waited_for_until_it_is_whole(database: str, redis_children: StartRedis) -> None:
    node = redis_children("--cluster-enabled", "yes")
    with started(WAIT, environment={REDIS: node.address, "FEATURE_PLATFORM_REDIS_TYPE": "redis_cluster"}) as job:
        waiting(job, "Redis", "")
        node.client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
        assert job.end().code == 0


def test_a_master_is_waited_for_until_its_sentinels_know_it(database: str, redis_children: StartRedis) -> None:
    master, sentinel = redis_children(), redis_children("--sentinel")
    with started(WAIT, environment={REDIS: sentinel.address, "FEATURE_PLATFORM_REDIS_TYPE": "redis_sentinel"}) as job:
        waiting(job, "Redis", "No master found for 'mymaster'")
        sentinel.client.execute_command("SENTINEL", "MONITOR", "mymaster", LOOPBACK, master.port, 1)
        assert job.end().code == 0


# --- the frame


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PGHOST": ""}, "PGHOST not set; Postgres is named by libpq's variables PGHOST, PGDATABASE, PGUSER"),
        ({REDIS: "redis"}, f"{REDIS} must start with host:port"),
        ({"FEATURE_PLATFORM_REDIS_TYPE": "memcached"}, "FEATURE_PLATFORM_REDIS_TYPE: Input should be"),
        ({"FEATURE_PLATFORM_PROJECT": ""}, "FEATURE_PLATFORM_PROJECT: a Feast project's name is made of letters"),
        ({"FEATURE_PLATFORM_REPO": "/nowhere"}, "FEATURE_PLATFORM_REPO is /nowhere, which holds no feature_store.yaml"),
    ],
)
def test_settings_with_which_no_try_could_succeed_end_it_at_once_with_exit_2(
    database: str, variables: dict[str, str], sentence: str
) -> None:
    ended = run(WAIT, "--applied", environment=variables)
    assert (ended.code, ended.out.count("\n")) == (2, 1)
    assert sentence in ended.out


def test_sigterm_ends_it_at_once_whatever_hangs(database: str) -> None:
    with silent() as address, started(WAIT, environment={REDIS: address}) as job:
        waiting(job, "Redis", "")
        begun = time.monotonic()
        job.process.send_signal(signal.SIGTERM)
        ended = job.end()
    assert time.monotonic() - begun < 3
    assert ended.code == 1
    assert "interrupted" in ended.out


def test_the_summary_is_the_termination_message(database: str, tmp_path: Path) -> None:
    message = tmp_path / "message"
    ended = run(WAIT, environment={"FEATURE_PLATFORM_TERMINATION_LOG": str(message), REDIS: ""})
    assert message.read_text() == ended.out.strip()


def test_it_imports_neither_feast_nor_pandas() -> None:
    code = "import sys, jobs.wait_for_stores; print([m for m in ('feast', 'pandas', 'pyarrow', 'sqlalchemy') if m in " \
           "sys.modules])"  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


# --- --applied


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("job", NEEDS)
def test_the_role_of_every_job_sees_that_apply_has_been_run(
    job: str, applied_database: str, connection_to_applied: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    connection_to_applied.execute(f"CREATE ROLE waits_{job} LOGIN PASSWORD 'x' IN ROLE {role_of(job)}")
    login = {**postgres_server.environment(applied_database), "PGUSER": f"waits_{job}", "PGPASSWORD": "x"}
    try:
        assert run(WAIT, "--applied", "--timeout", "5", environment=login).code == 0
    finally:
        connection_to_applied.execute(f"DROP ROLE waits_{job}")


@pytest.fixture
def connection_to_applied(postgres_server: PostgresServer, applied_database: str) -> Iterator[psycopg.Connection]:
    with postgres_server.connect(applied_database) as opened:
        yield opened


@pytest.fixture
def release(repository: Path, tmp_path: Path) -> dict[str, str]:
    """The settings of another release: its repository has a feature more."""
    copy = tmp_path / "feature_repo"
    shutil.copytree(repository, copy, ignore=shutil.ignore_patterns("sample", "__pycache__"))
    before = 'Field(name="net_service", dtype=String,'
    text = (copy / "features.py").read_text()
    assert text.count(before) == 1
    (copy / "features.py").write_text(text.replace(before, f'Field(name="contract_type", dtype=String), {before}'))
    return {"FEATURE_PLATFORM_REPO": str(copy)}


def test_a_new_release_waits_until_its_own_apply_has_ended(
    applied_database: str, redis_client: BytesRedis, release: dict[str, str]
) -> None:
    with started(WAIT, "--applied", environment=release) as job:
        waiting(job, "Postgres", "apply has not brought the database to this release and repository yet")
        assert run("jobs.apply", environment=release).code == 0
        ended = job.end()
    assert ended.code == 0
    assert ended.out.startswith("wait_for_stores: done: Postgres and Redis answered after ")


def test_on_an_empty_database_it_waits_for_the_first_apply(database: str, redis_client: BytesRedis) -> None:
    with started(WAIT, "--applied") as job:
        waiting(job, "Postgres", "apply has not brought the database to this release and repository yet")
        assert run("jobs.apply").code == 0
        assert job.end().code == 0


def test_a_release_that_was_never_applied_ends_with_1_when_time_is_up(
    applied_database: str, redis_client: BytesRedis, release: dict[str, str]
) -> None:
    ended = run(WAIT, "--applied", "--timeout", "2", environment=release)
    assert ended.code == 1
    assert "Postgres: apply has not brought the database to this release and repository yet" in ended.out


def test_another_project_is_not_applied(applied_database: str, redis_client: BytesRedis) -> None:
    ended = run(WAIT, "--applied", "--timeout", "2", environment={"FEATURE_PLATFORM_PROJECT": "another"})
    assert ended.code == 1


def test_an_apply_that_fails_is_none(applied_database: str, redis_client: BytesRedis, release: dict[str, str]) -> None:
    broken = Path(release["FEATURE_PLATFORM_REPO"]) / "migrations" / "0002_broken.sql"
    broken.write_text("ALTER TABLE nowhere ADD b int;")
    assert run("jobs.apply", environment=release).code == 2
    assert run(WAIT, "--applied", "--timeout", "2", environment=release).code == 1


def test_after_a_rollback_the_older_release_waits_for_its_own_apply(
    applied_database: str, redis_client: BytesRedis, release: dict[str, str]
) -> None:
    assert run("jobs.apply", environment=release).code == 0
    with started(WAIT, "--applied") as job:
        waiting(job, "Postgres", "apply has brought the database to another release or repository since")
        assert run("jobs.apply").code == 0
        ended = job.end()
    assert ended.code == 0
    assert run(WAIT, "--applied", "--timeout", "5").code == 0


def test_an_older_release_whose_apply_does_not_come_goes_on_when_time_is_up_and_says_so(
    applied_database: str, redis_client: BytesRedis, release: dict[str, str]
) -> None:
    assert run("jobs.apply", environment=release).code == 0
    ended = run(WAIT, "--applied", "--timeout", "2")
    assert ended.code == 0
    assert "though apply has brought the database to another release or repository since" in ended.out


def test_the_same_applied_again_is_noted_once(
    applied_database: str, connection_to_applied: psycopg.Connection, repository: Path
) -> None:
    sha256 = applied.fingerprint(repository)
    assert applied.look(connection_to_applied, PROJECT, sha256) is Applied.LAST
    applied.note(connection_to_applied, PROJECT, sha256)
    assert connection_to_applied.execute("SELECT count(*) FROM ledger.applied").fetchone() == (1,)
    for one, other in (("b" * 64, sha256), (sha256, "b" * 64)):
        applied.note(connection_to_applied, PROJECT, one)
        assert applied.look(connection_to_applied, PROJECT, one) is Applied.LAST
        assert applied.look(connection_to_applied, PROJECT, other) is Applied.EARLIER
    assert applied.look(connection_to_applied, "another", sha256) is Applied.NEVER
