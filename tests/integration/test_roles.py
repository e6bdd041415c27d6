"""One role per job: what each may do, what it is refused, and that each job needs no more, on real servers."""

import contextlib
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from feature_repo.sample import exports, generate, write_export
from jobs import roles
from jobs.errors import UsageError
from jobs.instants import isoformat
from jobs.local.platform import LocalPlatform
from jobs.local.servers import PostgresServer, RedisServer
from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until
from jobs.roles import NEEDS, ROLES, ensure_roles, grant, role_of
from tests.conftest import PROJECT, REPOSITORY
from tests.databases import database_of
from tests.integration.job_process import Ended, run, started
from tests.process_support import wait_for

STRANGER = "stranger"
INGEST, MATERIALIZE, TRAINING_SET, FEATURE_SERVER = "ingest", "materialize", "training_set", "feature_server"
LEDGER_KEEPERS = {INGEST, MATERIALIZE, TRAINING_SET}
OFFLINE_READERS = {INGEST, MATERIALIZE, TRAINING_SET}
REGISTRY_READERS = {MATERIALIZE, TRAINING_SET, FEATURE_SERVER}
NOBODY: set[str] = set()

TABLE = "offline.usage_agg_30d_snapshots"
ACTIONS: dict[str, tuple[str, set[str]]] = {
    "read snapshots": (f"SELECT * FROM {TABLE}", OFFLINE_READERS),
    "read labels": ("SELECT * FROM offline.churn_labels", OFFLINE_READERS),
    "append a row": (f"INSERT INTO {TABLE} (user_id, as_of, created_at) VALUES ('a', now(), now())", {INGEST}),
    "change a row": (f"UPDATE {TABLE} SET skips_7d = 1", NOBODY),
    "take a row back by its column": (f"UPDATE {TABLE} SET tombstone = true", NOBODY),
    "delete rows": (f"DELETE FROM {TABLE}", NOBODY),
    "truncate a table": (f"TRUNCATE {TABLE}", NOBODY),
    "create a table": ("CREATE TABLE offline.mine (a int)", NOBODY),
    "create a view": (f"CREATE VIEW offline.mine AS SELECT * FROM {TABLE}", NOBODY),
    "add a column": (f"ALTER TABLE {TABLE} ADD mine int", NOBODY),
    "add an index": (f"CREATE INDEX ON {TABLE} (skips_7d)", NOBODY),
    "add a trigger": (
        f"CREATE TRIGGER t BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        NOBODY,
    ),
    "drop a table": (f"DROP TABLE {TABLE}", NOBODY),
    "read the definitions": ("SELECT * FROM registry.feature_views, registry.projects", REGISTRY_READERS),
    "read what Feast knows of the project": ("SELECT * FROM registry.feast_metadata", REGISTRY_READERS),
    "note a materialization": (
        "UPDATE registry.feature_views SET feature_view_proto = '', last_updated_timestamp = 0", {MATERIALIZE},
    ),
    "note when the project was changed": (
        "UPDATE registry.feast_metadata SET metadata_value = '0', last_updated_timestamp = 0", {MATERIALIZE},
    ),
    "rename a view": (
        "UPDATE registry.feature_views SET feature_view_name = 'mine' WHERE feature_view_name = 'subs_profile_fv'",
        NOBODY,
    ),
    "change a service": ("UPDATE registry.feature_services SET feature_service_proto = ''", NOBODY),
    "change a source": ("UPDATE registry.data_sources SET data_source_proto = ''", NOBODY),
    "define a view": ("INSERT INTO registry.feature_views VALUES ('mine', 'p', 0, '', '', '')", NOBODY),
    "register a project": ("INSERT INTO registry.feast_metadata VALUES ('p', 'k', 'v', 0)", NOBODY),
    "retire a view": ("DELETE FROM registry.feature_views", NOBODY),
    "truncate the registry": ("TRUNCATE registry.feature_views", NOBODY),
    "create a table in the registry": ("CREATE TABLE registry.mine (a int)", NOBODY),
    "alter the registry": ("ALTER TABLE registry.feature_views ADD mine int", NOBODY),
    "find runs": ("SELECT run_id, state FROM ledger.runs", LEDGER_KEEPERS),
    "find what other runs left": (
        "SELECT run_id, details FROM ledger.runs WHERE job = 'ingest'", {INGEST, MATERIALIZE},
    ),
    "read the whole ledger": ("SELECT * FROM ledger.runs", NOBODY),
    "read the flags of runs": ("SELECT arguments FROM ledger.runs", NOBODY),
    "begin a run": (
        "INSERT INTO ledger.runs (job, arguments) VALUES ('{job}', '{}') RETURNING run_id", LEDGER_KEEPERS,
    ),
    "begin a run of apply": ("INSERT INTO ledger.runs (job, arguments) VALUES ('apply', '{}')", NOBODY),
    "begin a run that has succeeded": (
        "INSERT INTO ledger.runs (job, state, arguments) VALUES ('{job}', 'succeeded', '{}')", NOBODY,
    ),
    "end its run": (
        "UPDATE ledger.runs SET state = 'succeeded', finished_at = clock_timestamp(), exit_code = 0, summary = 's', "
        "details = '{}' WHERE run_id = (SELECT min(run_id) FROM ledger.runs) + {number}", LEDGER_KEEPERS,
    ),
    "mark dead runs of all jobs": (
        "UPDATE ledger.runs SET state = 'lost', finished_at = clock_timestamp() WHERE state = 'running'",
        LEDGER_KEEPERS,
    ),
    "let all jobs that run succeed": ("UPDATE ledger.runs SET state = 'succeeded' WHERE state = 'running'", NOBODY),
    "give a run to another job": ("UPDATE ledger.runs SET job = 'apply'", NOBODY),
    "change a run's beginning": ("UPDATE ledger.runs SET started_at = now(), arguments = '{}'", NOBODY),
    "delete runs": ("DELETE FROM ledger.runs", NOBODY),
    "truncate the ledger": ("TRUNCATE ledger.runs", NOBODY),
    "lift the ledger's rules": ("ALTER TABLE ledger.runs DISABLE ROW LEVEL SECURITY", NOBODY),
    "read the migrations": ("SELECT * FROM ledger.migrations", NOBODY),
    "claim a migration": ("INSERT INTO ledger.migrations (name, sha256) VALUES ('mine', '')", NOBODY),
    "read what was applied": ("SELECT * FROM ledger.applied", {*NEEDS}),
    "claim to have applied": ("INSERT INTO ledger.applied (project, sha256) VALUES ('p', '')", NOBODY),
    "forget what was applied": ("DELETE FROM ledger.applied", NOBODY),
    "read what the registry defines": ("SELECT * FROM ledger.definitions", {*NEEDS}),
    "say that the registry is still that": ("UPDATE ledger.definitions SET registry_digest = ''", {MATERIALIZE}),
    "define otherwise": ("UPDATE ledger.definitions SET definitions = '{}'", NOBODY),
    "define for another project": ("INSERT INTO ledger.definitions VALUES ('p', '', '{}')", NOBODY),
    "create a table in the ledger": ("CREATE TABLE ledger.mine (a int)", NOBODY),
    "stage in a temporary table": ("CREATE TEMP TABLE mine AS SELECT 1 AS a", {INGEST}),
    "create a table in public": ("CREATE TABLE public.mine (a int)", NOBODY),
    "create a schema": ("CREATE SCHEMA mine", NOBODY),
    "create a role": ("CREATE ROLE mine", NOBODY),
}  # fmt: skip
"""What one may try, and the jobs whose roles may; `{job}` and `{number}` are who tries it."""


@dataclass(frozen=True)
class Logins:
    """A database with a login per job, each a member of its job's role alone, and one that is a member of nothing."""

    server: PostgresServer
    database: str
    users: dict[str, str]
    password: str

    def environment(self, who: str) -> dict[str, str]:
        """libpq's variables."""
        return {
            **self.server.environment(self.database), "PGUSER": self.users[who], "PGPASSWORD": self.password,
        }  # fmt: skip

    def connect(self, who: str) -> psycopg.Connection:
        """A connection as this login."""
        return psycopg.connect(
            host=self.server.host, port=self.server.port, dbname=self.database, user=self.users[who],
            password=self.password,
        )  # fmt: skip


@contextlib.contextmanager
def logins(server: PostgresServer, database: str) -> Iterator[Logins]:
    """Logins for the roles, which must be there; they are gone afterwards."""
    suffix, password = secrets.token_hex(4), secrets.token_urlsafe(12)
    users = {who: f"{who}_{suffix}" for who in (*NEEDS, STRANGER)}
    with server.connect() as admin:
        for who, user in users.items():
            member = sql.SQL("IN ROLE {}").format(sql.Identifier(role_of(who))) if who in NEEDS else sql.SQL("")
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(sql.Identifier(user), password, member))
        yield Logins(server, database, users, password)
        for user in users.values():
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


@pytest.fixture(scope="module")
def granted(postgres_server: PostgresServer, applied_template: str) -> Iterator[Logins]:
    """An applied database in which every job, `apply` too, has a run that is still running; in the order of NEEDS."""
    with database_of(postgres_server, applied_template) as name:
        with postgres_server.connect(name) as owner:
            ensure_roles(owner)
            grant(owner)
            owner.execute("DELETE FROM ledger.runs")
            for job in ("apply", *NEEDS):
                owner.execute("INSERT INTO ledger.runs (job, arguments) VALUES (%s, '{}')", (job,))
        with logins(postgres_server, name) as made:
            yield made


@pytest.fixture
def admin(granted: Logins) -> Iterator[psycopg.Connection]:
    """The owner's connection to the granted database."""
    with granted.server.connect(granted.database) as connection:
        yield connection


def statement(action: str, who: str) -> str:
    job = who if who in NEEDS else INGEST
    return ACTIONS[action][0].replace("{job}", job).replace("{number}", str([*NEEDS].index(job) + 1))


def attempt(connection: psycopg.Connection, action: str, who: str) -> int:
    """Try it and undo it; the number of rows it was about."""
    with connection.transaction(force_rollback=True):
        return connection.execute(statement(action, who).encode()).rowcount


def privileges(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Every right that anyone has in the database, its schemas, their tables and columns, and the ledger's rules."""
    query = """
        SELECT 'database', datname::text, '', acl.* FROM pg_database, aclexplode(datacl) acl
            WHERE datname = current_database()
        UNION ALL SELECT 'schema', nspname::text, '', acl.* FROM pg_namespace, aclexplode(nspacl) acl
            WHERE nspname IN ('offline', 'registry', 'ledger')
        UNION ALL SELECT relkind::text, relname::text, '', acl.* FROM pg_class, aclexplode(relacl) acl
            WHERE relnamespace::regnamespace::text IN ('offline', 'registry', 'ledger')
        UNION ALL SELECT 'column', relname::text, attname::text, acl.*
            FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl) acl
            WHERE relnamespace::regnamespace::text IN ('offline', 'registry', 'ledger')"""
    rules = "SELECT policyname, roles::text, cmd, qual, with_check FROM pg_policies WHERE tablename = 'runs'"
    return sorted([*connection.execute(query), *connection.execute(rules)], key=repr)


# --- who may do what


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("who", [*NEEDS, STRANGER])
def test_each_role_may_do_what_its_job_needs_and_is_refused_all_else(granted: Logins, who: str, action: str) -> None:
    with granted.connect(who) as connection:
        if who in ACTIONS[action][1]:
            attempt(connection, action, who)
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                attempt(connection, action, who)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_refused_is_refused_for_want_of_a_right_alone(admin: psycopg.Connection, action: str) -> None:
    attempt(admin, action, "the owner")


@pytest.mark.parametrize("who", sorted(LEDGER_KEEPERS))
def test_a_job_ends_its_own_run_and_marks_the_dead_of_all(granted: Logins, who: str) -> None:
    with granted.connect(who) as connection:
        assert attempt(connection, "end its run", who) == 1
        assert attempt(connection, "mark dead runs of all jobs", who) == 1 + len(NEEDS)


@pytest.mark.parametrize("who", sorted(LEDGER_KEEPERS))
def test_what_another_job_has_ended_is_out_of_reach(granted: Logins, admin: psycopg.Connection, who: str) -> None:
    query = "INSERT INTO ledger.runs (job, state, arguments) VALUES ('apply', 'failed', '{}') RETURNING run_id"
    (run_id,) = admin.execute(query).fetchone() or (None,)
    try:
        with granted.connect(who) as connection:
            change = "UPDATE ledger.runs SET state = 'lost' WHERE run_id = %s"
            assert connection.execute(change, (run_id,)).rowcount == 0
    finally:
        admin.execute("DELETE FROM ledger.runs WHERE run_id = %s", (run_id,))


def test_public_has_nothing_but_connect(admin: psycopg.Connection) -> None:
    public = 0
    rights = [right for right in privileges(admin) if right[4:5] == (public,)]
    assert [(right[0], right[5]) for right in rights] == [("database", "CONNECT")]


def test_no_role_logs_in_or_is_more_than_a_group(admin: psycopg.Connection) -> None:
    query = """SELECT rolname FROM pg_roles WHERE rolname LIKE 'feature\\_platform\\_%%' AND NOT (
                   rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"""
    assert {name for (name,) in admin.execute(query)} == set(ROLES)


# --- granting again


def test_granting_again_changes_nothing(admin: psycopg.Connection) -> None:
    before = privileges(admin)
    grant(admin)
    assert privileges(admin) == before


def test_what_a_role_or_public_has_too_much_is_taken_back(admin: psycopg.Connection) -> None:
    before = privileges(admin)
    for role in (*ROLES, "PUBLIC"):
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA offline, registry, ledger TO {role}")
        admin.execute(f"GRANT UPDATE (skips_7d) ON {TABLE} TO {role}")
        admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA ledger TO {role}")
        admin.execute(f"GRANT ALL ON SCHEMA offline, registry, ledger TO {role}")
        admin.execute(f"GRANT TEMPORARY ON DATABASE {admin.info.dbname} TO {role}")
    admin.execute(f"GRANT CREATE ON DATABASE {admin.info.dbname} TO {role_of(INGEST)}")
    assert privileges(admin) != before
    grant(admin)
    assert privileges(admin) == before


def test_a_table_that_is_new_is_covered(admin: psycopg.Connection, granted: Logins) -> None:
    admin.execute("CREATE TABLE offline.brand_new (a int)")
    try:
        grant(admin)
        with granted.connect(TRAINING_SET) as connection:
            assert connection.execute("SELECT * FROM offline.brand_new").fetchall() == []
    finally:
        admin.execute("DROP TABLE offline.brand_new")


def test_granting_again_does_not_wait_for_who_reads_the_ledger(admin: psycopg.Connection, granted: Logins) -> None:
    with granted.connect(INGEST) as reader:
        reader.execute("SELECT run_id FROM ledger.runs")
        admin.execute("SET lock_timeout = '2s'")
        grant(admin)


# --- whoever may not grant, or not create roles, is told what to do


@pytest.fixture
def cluster(servers_folder: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A cluster that knows no role of the platform."""
    server = PostgresServer(servers_folder / tmp_path.name)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plain_cluster(servers_folder: Path) -> Iterator[PostgresServer]:
    """A cluster whose login `plain` may not create roles."""
    server = PostgresServer(servers_folder / "plain")
    with server.connect() as admin:
        admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    yield server
    server.stop()


@dataclass(frozen=True)
class Story:
    """What `apply` said to a plain owner before and after the roles were there, and what the jobs said then."""

    refused: Ended
    tables_then: list[str]
    applied: Ended
    logins: Logins
    environment: dict[str, str]
    jobs: dict[str, Ended]


@pytest.fixture(scope="module")
def story(
    plain_cluster: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """A database owned by `plain`: refused, mended by the very commands of the refusal, applied; then each job."""
    folder = tmp_path_factory.mktemp("roles")
    for export in generate(months=2, customers=60):
        write_export(export, folder / "exports")
    with database_of(plain_cluster, owner="plain") as name, plain_cluster.connect(name) as admin:
        settings = settings_of(redis_server, PROJECT)
        owner = {**settings, **plain_cluster.environment(name), "PGUSER": "plain", "PGPASSWORD": "plain"}
        refused = run("jobs.apply", environment=owner)
        tables = [table for (table,) in admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'offline'")]
        admin.execute(refused.out.partition("then apply again: ")[2].encode())
        applied = run("jobs.apply", environment=owner)
        with logins(plain_cluster, name) as made:
            yield Story(refused, tables, applied, made, settings, run_jobs(made, settings, folder))


def settings_of(cache: RedisServer, project: str) -> dict[str, str]:
    return {
        "FEATURE_PLATFORM_REPO": str(REPOSITORY / "feature_repo"), "FEATURE_PLATFORM_PROJECT": project,
        "FEATURE_PLATFORM_REDIS_CONNECTION_STRING": cache.connection_string, "FEATURE_PLATFORM_REDIS_TYPE": "redis",
    }  # fmt: skip


def run_jobs(made: Logins, settings: dict[str, str], folder: Path) -> dict[str, Ended]:
    """Each job as its own login; of the ingests the last."""
    ended = {}
    for found in exports(folder / "exports"):
        when = ["--as-of", isoformat(found.as_of), "--delivered-at", isoformat(found.delivered_at)]
        environment = {**settings, **made.environment(INGEST)}
        ended[INGEST] = run("jobs.ingest", *when, str(found.path), environment=environment)
    ended[MATERIALIZE] = run("jobs.materialize", environment={**settings, **made.environment(MATERIALIZE)})
    output = ["--output", str(folder / "set")]
    ended[TRAINING_SET] = run("jobs.training_set", *output, environment={**settings, **made.environment(TRAINING_SET)})
    return ended


def test_who_may_not_create_roles_is_told_which_are_missing_and_nothing_has_changed(story: Story) -> None:
    assert story.refused.code == 2
    assert f"the roles {', '.join(ROLES)} are missing, and user plain may not create roles" in story.refused.out
    assert "as an administrator" in story.refused.out
    assert story.tables_then == []


def test_an_owner_without_any_right_over_roles_applies_once_they_are_there(story: Story) -> None:
    assert story.applied.code == 0, story.applied.err


@pytest.mark.parametrize("job", sorted(LEDGER_KEEPERS))
def test_each_job_succeeds_as_a_member_of_its_role_alone(story: Story, job: str) -> None:
    assert story.jobs[job].code == 0, story.jobs[job].out


def test_each_run_is_in_the_ledger_with_its_end(story: Story) -> None:
    with story.logins.server.connect(story.logins.database) as admin:
        query = "SELECT DISTINCT job FROM ledger.runs WHERE state = 'succeeded' AND summary <> '' AND details <> '{}'"
        assert {job for (job,) in admin.execute(query)} == {"apply", *LEDGER_KEEPERS}


def test_the_feature_server_starts_and_answers_as_a_member_of_its_role_alone(story: Story, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    environment = {**story.environment, **story.logins.environment(FEATURE_SERVER)}
    command = [sys.executable, "-m", "jobs.feature_server", "--host", LOOPBACK, "--port", str(port)]
    assert story.jobs[MATERIALIZE].code == 0
    with feature_server(command, environment, log, port) as client:
        asked = {"features": ["subs_profile_fv:months_active"], "entities": {"user_id": ["7590-VHVEG"]}}
        answer = client.post("/get-online-features", json=asked)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def feature_server(command: list[str], environment: dict[str, str], log: Path, port: int) -> Iterator[httpx.Client]:
    child = start_child(command, log=log, environment={**os.environ, **environment})
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}", timeout=10.0) as client:

        def answers() -> bool:
            try:
                return client.get("/health").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, child, "the feature server", log, 120.0)
            yield client
        finally:
            stop_child(child)


def test_who_owns_not_everything_is_told_so_and_nothing_has_changed(story: Story) -> None:
    with story.logins.server.connect(story.logins.database) as admin:
        admin.execute("CREATE TABLE registry.somebody_elses (a int)")
        admin.execute(f"REVOKE USAGE ON SCHEMA offline FROM {role_of(INGEST)}")
        before = privileges(admin)
        sentence = r"^user plain may not grant .*somebody_elses; apply runs as the owner"
        with as_plain(story) as owner, pytest.raises(UsageError, match=sentence):
            grant(owner)
        assert privileges(admin) == before
        admin.execute("DROP TABLE registry.somebody_elses")
        with as_plain(story) as owner:
            grant(owner)


def test_who_does_not_own_the_database_is_told_what_its_owner_must_grant(story: Story) -> None:
    database, role = story.logins.database, role_of(INGEST)
    with story.logins.server.connect(database) as admin:
        admin.execute(f"ALTER DATABASE {database} OWNER TO postgres")
        admin.execute(f"GRANT CREATE ON DATABASE {database} TO plain")
        admin.execute(f"REVOKE TEMPORARY ON DATABASE {database} FROM {role}")
        try:
            with as_plain(story) as owner, pytest.raises(UsageError) as refused:
                grant(owner)
            command = f"GRANT TEMPORARY ON DATABASE {database} TO {role}"
            assert str(refused.value).endswith(f"run this as its owner: {command}")
            admin.execute(command)
            with as_plain(story) as owner:
                grant(owner)
        finally:
            admin.execute(f"ALTER DATABASE {database} OWNER TO plain")


def as_plain(story: Story) -> psycopg.Connection:
    server, database = story.logins.server, story.logins.database
    return psycopg.connect(
        host=server.host, port=server.port, dbname=database, user="plain", password="plain", autocommit=True
    )


# --- several at once: roles belong to the cluster, locks to a database


def test_two_first_applies_at_once_on_two_databases_of_one_cluster_both_succeed(
    cluster: PostgresServer, redis_server: RedisServer
) -> None:
    with database_of(cluster) as one, database_of(cluster) as two, contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                started("jobs.apply", environment={**settings_of(redis_server, name), **cluster.environment(name)})
            )
            for name in (one, two)
        ]
        ended = [job.end() for job in running]
        assert [job.code for job in ended] == [0, 0], [job.out for job in ended]
        with cluster.connect(one) as first, cluster.connect(two) as second:
            assert [right[1:] for right in privileges(first) if right[0] != "database"] == [
                right[1:] for right in privileges(second) if right[0] != "database"
            ]


def test_a_first_apply_that_is_refused_leaves_no_role_behind(
    cluster: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY / "feature_repo", repository)
    features = (repository / "features.py").read_text()
    (repository / "features.py").write_text(features.replace('"net_service"', '"moon"'))
    with database_of(cluster) as name:
        environment = {**settings_of(redis_server, name), **cluster.environment(name)}
        with started("jobs.apply", environment={**environment, "FEATURE_PLATFORM_REPO": str(repository)}) as job:
            assert job.end().code == 2
        with cluster.connect(name) as admin:
            assert not {role for (role,) in admin.execute("SELECT rolname FROM pg_roles")} & set(ROLES)


def test_a_role_that_another_session_is_just_creating_is_no_error(cluster: PostgresServer) -> None:
    failures: list[BaseException] = []

    def ensure() -> None:
        try:
            with database_of(cluster) as name, cluster.connect(name) as connection:
                ensure_roles(connection)
        except BaseException as error:
            failures.append(error)

    with cluster.connect() as other, cluster.connect() as watching:
        thread = threading.Thread(target=ensure)
        with other.transaction():
            other.execute(f"CREATE ROLE {ROLES[0]} NOLOGIN")
            thread.start()
            waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE ROLE%'"
            wait_for(lambda: watching.execute(waiting).fetchone() is not None or failures, "the second waits")
        thread.join(30)
        assert failures == []
        there = {name for (name,) in watching.execute("SELECT rolname FROM pg_roles")}
        assert there >= set(ROLES)


def test_a_role_that_is_there_is_left_as_it_is(cluster: PostgresServer) -> None:
    with cluster.connect() as connection:
        connection.execute(f"CREATE ROLE {ROLES[0]} NOLOGIN CONNECTION LIMIT 3")
        ensure_roles(connection)
        ensure_roles(connection)
        query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s"
        assert connection.execute(query, (ROLES[0],)).fetchone() == (3,)


# --- the platform on one machine


def test_on_one_machine_every_job_connects_as_its_own_login_once_apply_has_run(
    servers_folder: Path, tmp_path: Path
) -> None:
    platform = LocalPlatform(servers_folder / "local", tmp_path / "logs", REPOSITORY / "feature_repo", PROJECT)
    try:
        assert platform.run_job("apply").exit_code == 0
        assert platform.run_job("apply").exit_code == 0
        with platform.postgres.connect() as admin:
            users = [f"local_{job}" for job in NEEDS]
            for user in users:
                admin.execute(f"ALTER ROLE {user} NOLOGIN")
        flags = {INGEST: ["--as-of", "2024-01-31", "x"], MATERIALIZE: [], TRAINING_SET: ["--output", "x"]}
        for job in LEDGER_KEEPERS:
            assert f'role "local_{job}" is not permitted to log in' in platform.run_job(job, *flags[job]).summary
        child = platform.start_feature_server()
        with pytest.raises(RuntimeError, match=r'role "local_feature_server" is not permitted to log in'):
            platform.wait_for_feature_server(child)
    finally:
        platform.stop()


def test_every_role_is_in_the_truth_table() -> None:
    assert set(NEEDS) == set().union(*(who for _, who in ACTIONS.values()))
    assert tuple(map(role_of, NEEDS)) == roles.ROLES
