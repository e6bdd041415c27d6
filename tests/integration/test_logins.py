"""The jobs' logins: `apply` makes them, sets their passwords unseen, and is told from files, on real servers."""

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from feature_repo.sample import exports, generate, write_export
from jobs import logins
from jobs.errors import JobError, UsageError
from jobs.instants import isoformat
from jobs.local.servers import PostgresServer, RedisServer
from jobs.logins import Change, Login, changes, load_logins
from jobs.process import LOOPBACK, free_port, start_child, stop_child, wait_until
from jobs.roles import NEEDS, ROLES, ensure_roles, role_of
from tests.conftest import PROJECT, REPOSITORY
from tests.databases import database_of
from tests.integration.job_process import Ended, run

LOGINS_DIR = "FEATURE_PLATFORM_LOGINS_DIR"
SECRETS_DIR = "FEATURE_PLATFORM_SECRETS_DIR"
MANY_GRANTS = 160_000
"""The first version of Postgres in which an owner needs ADMIN OPTION, which it has on what it made itself."""


@pytest.fixture(scope="module", params=["PATH", "wheel"])
def cluster(request: pytest.FixtureRequest, servers_folder: Path) -> Iterator[PostgresServer]:
    """A cluster that logs every statement; `owner` may create roles and is no superuser. Both Postgres that we find."""
    if request.param == "PATH" and not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("there is no Postgres on PATH")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "wheel":
            patch.setenv("PATH", "/nowhere")
        server = PostgresServer(servers_folder / f"logins-{request.param}")
    with server.connect() as admin:
        admin.execute("CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'owner'")
        admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()


@pytest.fixture
def admin(cluster: PostgresServer) -> Iterator[psycopg.Connection]:
    """A superuser's connection; after the test the cluster has only the roles that were there before it."""
    with cluster.connect() as connection:
        query = "SELECT rolname FROM pg_roles"
        before = {name for (name,) in connection.execute(query)}
        yield connection
        for name in {name for (name,) in connection.execute(query)} - before:
            connection.execute(f'DROP OWNED BY "{name}"')
            connection.execute(f'DROP ROLE "{name}"')


@pytest.fixture
def database(cluster: PostgresServer, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh database of `owner`, which libpq's variables name."""
    with database_of(cluster, owner="owner") as name:
        for variable, value in environment(cluster, name, "owner").items():
            monkeypatch.setenv(variable, value)
        yield name


@pytest.fixture
def owner(database: str) -> Iterator[psycopg.Connection]:
    """The owner's connection."""
    with psycopg.connect(autocommit=True) as connection:
        yield connection


def environment(server: PostgresServer, database: str, user: str) -> dict[str, str]:
    """libpq's variables for a user whose password is its name."""
    return {**server.environment(database), "PGUSER": user, "PGPASSWORD": user}


def login(job: str = "ingest") -> Login:
    return Login(job, f"{job}-{secrets.token_hex(3)}", secrets.token_urlsafe(12))


def ensure(connection: psycopg.Connection, *wanted: Login) -> list[Change]:
    """What `apply` does for these logins; returns what it changed."""
    found = changes(connection, wanted)
    ensure_roles(connection)
    logins.make(connection, found)
    logins.check(connection, wanted)
    return found


def groups(connection: psycopg.Connection, user: str) -> set[str]:
    """The roles that the user is a member of."""
    query = """SELECT role.rolname FROM pg_auth_members m JOIN pg_roles role ON role.oid = roleid
               JOIN pg_roles member ON member.oid = member WHERE member.rolname = %s"""
    return {name for (name,) in connection.execute(query, (user,))}


def verifiers(admin: psycopg.Connection) -> dict[str, str]:
    """What the cluster keeps of each password; its salt makes it another each time that one is set."""
    return dict(admin.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin").fetchall())


def refused(login: Login) -> bool:
    """Whether Postgres does not let the login in."""
    try:
        psycopg.connect(user=login.user, password=login.password).close()
    except psycopg.OperationalError:
        return True
    return False


# --- what becomes of a login


def test_a_login_that_is_missing_is_made_a_member_of_its_jobs_role_alone(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    wanted = [login(job) for job in NEEDS]
    ensure(owner, *wanted)
    for one in wanted:
        assert not refused(one)
        assert groups(admin, one.user) == {role_of(one.job)}


def test_a_login_that_is_right_is_left_alone(owner: psycopg.Connection, admin: psycopg.Connection) -> None:
    wanted = [login(job) for job in NEEDS]
    ensure(owner, *wanted)
    before = verifiers(admin)
    assert ensure(owner, *wanted) == []
    assert verifiers(admin) == before


def test_a_password_that_changed_is_set_and_no_others(owner: psycopg.Connection, admin: psycopg.Connection) -> None:
    former, other = login("ingest"), login("materialize")
    ensure(owner, former, other)
    before = verifiers(admin)
    changed = Login(former.job, former.user, "a new 'password' \\ with \"quotes\", é")
    assert [change.login for change in ensure(owner, changed, other)] == [changed]
    assert refused(former)
    assert not refused(changed)
    assert verifiers(admin)[other.user] == before[other.user]


def test_a_login_that_may_not_log_in_or_inherits_nothing_is_mended(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    wanted = login()
    ensure(owner, wanted)
    admin.execute(f'ALTER ROLE "{wanted.user}" NOLOGIN NOINHERIT')
    assert ensure(owner, wanted) != []
    assert not refused(wanted)
    query = "SELECT pg_has_role(%s, %s, 'USAGE')"
    assert admin.execute(query, (wanted.user, role_of(wanted.job))).fetchone() == (True,)


def test_the_roles_of_other_jobs_are_taken_from_a_login(owner: psycopg.Connection, admin: psycopg.Connection) -> None:
    wanted = login("training_set")
    ensure(owner, wanted)
    owner.execute(f'GRANT {role_of("ingest")} TO "{wanted.user}"')
    ensure(owner, wanted)
    assert groups(admin, wanted.user) == {role_of("training_set")}


def test_a_role_that_has_nothing_to_do_with_ours_stays_with_the_login(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    wanted = login()
    ensure(owner, wanted)
    admin.execute("CREATE ROLE auditors")
    admin.execute(f'GRANT auditors TO "{wanted.user}"')
    assert ensure(owner, wanted) == []
    assert groups(admin, wanted.user) == {role_of("ingest"), "auditors"}


def test_the_owner_as_the_login_of_every_job_is_left_alone(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    before, mine = verifiers(admin), groups(admin, "owner")
    assert ensure(owner, *(Login(job, "owner", "not its password") for job in NEEDS)) == []
    assert verifiers(admin) == before
    assert groups(admin, "owner") - {*ROLES} == mine - {*ROLES}


def test_no_password_reaches_the_servers_log(
    owner: psycopg.Connection, cluster: PostgresServer, servers_folder: Path, request: pytest.FixtureRequest
) -> None:
    wanted = login()
    ensure(owner, wanted)
    changed = Login(wanted.job, wanted.user, secrets.token_urlsafe(12))
    ensure(owner, changed)
    log = (servers_folder / f"logins-{request.node.callspec.params['cluster']}" / "postgres.log").read_text()
    assert f'ALTER ROLE "{wanted.user}" LOGIN INHERIT PASSWORD \'SCRAM-SHA-256$' in log
    assert wanted.password not in log
    assert changed.password not in log


def test_a_login_that_cannot_connect_all_the_same_is_named_with_the_reason(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    wanted = login()
    ensure(owner, wanted)
    admin.execute(f"ALTER ROLE \"{wanted.user}\" VALID UNTIL '2000-01-01'")
    with pytest.raises(JobError, match=f"^the login {wanted.user} of ingest does not work: .*authentication failed"):
        ensure(owner, wanted)


# --- who may not


def test_who_may_not_is_told_the_commands_which_an_administrator_can_run_as_they_are(
    owner: psycopg.Connection, cluster: PostgresServer, database: str, admin: psycopg.Connection
) -> None:
    ensure_roles(owner)
    new, old = login("ingest"), login("materialize")
    ensure(owner, old)
    admin.execute(f'GRANT {role_of("ingest")} TO "{old.user}"')
    changed = Login(old.job, old.user, secrets.token_urlsafe(12))
    with psycopg.connect(**_as(cluster, database, "plain")) as plain:
        before = verifiers(admin)
        with pytest.raises(UsageError) as told:
            ensure(plain, new, changed)
        assert verifiers(admin) == before
        sentence, _, commands = str(told.value).partition("then apply again: ")
        assert sentence.startswith(f"user plain may not make the logins {new.user}, {old.user} what they must be")
        assert commands.count("PASSWORD '...';") == 2
        for secret in (new.password, old.password, changed.password, "SCRAM"):
            assert secret not in str(told.value)
        for password in (new.password, changed.password):
            commands = commands.replace("'...'", f"'{password}'", 1)
        admin.execute(commands.encode())
        assert ensure(plain, new, changed) == []


def test_who_may_make_no_role_is_told_all_commands_at_once_with_exit_2_and_applies_after_them(
    cluster: PostgresServer, admin: psycopg.Connection, folder: Path, redis_client: Any
) -> None:
    with database_of(cluster, owner="plain") as name:
        settings = environment(cluster, name, "plain")
        refused = run("jobs.apply", environment=settings)
        assert refused.code == 2
        with cluster.connect(name) as connection:
            query = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('offline', 'registry')"
            assert connection.execute(query).fetchone() == (0,), "nothing has changed"
            commands = refused.out.partition("then apply again: ")[2]
            assert commands.startswith("CREATE ROLE feature_platform_ingest NOLOGIN; ")
            connection.execute(commands.replace("...", "x y").encode())
        applied = run("jobs.apply", environment=settings)
        assert applied.code == 0, applied.out
        assert groups(admin, "loader") == {role_of("ingest")}


def test_roles_that_somebody_else_made_are_granted_by_an_administrator_where_the_owner_may_not(
    owner: psycopg.Connection, admin: psycopg.Connection
) -> None:
    for role in ROLES:
        admin.execute(f"CREATE ROLE {role} NOLOGIN")
    wanted = login()
    if admin.info.server_version < MANY_GRANTS:
        ensure(owner, wanted)
        return
    with pytest.raises(UsageError) as told:
        ensure(owner, wanted)
    assert wanted.user not in verifiers(admin), "all of it or nothing"
    admin.execute(str(told.value).partition("then apply again: ")[2].replace("...", wanted.password).encode())
    assert ensure(owner, wanted) == []


def _as(server: PostgresServer, database: str, user: str) -> dict[str, Any]:
    return {"host": server.host, "port": server.port, "dbname": database, "user": user, "password": user,
            "autocommit": True}  # fmt: skip


# --- what cannot be a login


def test_two_jobs_with_one_login_are_refused(owner: psycopg.Connection) -> None:
    with pytest.raises(UsageError, match=r"^ingest and materialize have the same login both; give each its own$"):
        changes(owner, [Login("ingest", "both", "x"), Login("materialize", "both", "x")])


def test_a_login_named_like_a_group_is_refused(owner: psycopg.Connection) -> None:
    with pytest.raises(UsageError, match=r"^the login of ingest is named feature_platform_materialize, as a group"):
        changes(owner, [Login("ingest", role_of("materialize"), "x")])


# --- the whole of apply and of every job, as a pod runs them


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Login]]:
    """A folder of logins, laid out as Kubernetes mounts it, and what it says."""
    folder = tmp_path_factory.mktemp("logins")
    said = {job: login(job) for job in NEEDS}
    for job, one in said.items():
        (folder / "..2024" / job).mkdir(parents=True)
        (folder / "..2024" / job / "username").write_text(one.user)
        (folder / "..2024" / job / "password").write_text(f"{one.password}\n")
        (folder / job).symlink_to(f"..data/{job}")
    (folder / "..data").symlink_to("..2024")
    return folder, said


def mounted(folder: Path, user: str, password: str) -> dict[str, str]:
    """The environment of a job that is told its user and password by files alone."""
    folder.mkdir()
    (folder / "pguser").write_text(f"{user}\n")
    (folder / "pgpassword").write_text(f"{password}\n")
    return {"PGUSER": "", "PGPASSWORD": "", SECRETS_DIR: str(folder)}


def test_an_owner_with_createrole_applies_all_of_it_and_every_job_runs_by_its_mounted_login(
    database: str,
    redis_server: RedisServer,
    files: tuple[Path, dict[str, Login]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder, said = files
    monkeypatch.setenv("FEATURE_PLATFORM_PROJECT", f"{PROJECT}_{database}")
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_CONNECTION_STRING", f"{redis_server.host}:{redis_server.port}")
    monkeypatch.setenv("FEATURE_PLATFORM_REDIS_PASSWORD", redis_server.password)
    apply = {**mounted(tmp_path / "apply", "owner", "owner"), LOGINS_DIR: str(folder)}
    assert [changed_by(run("jobs.apply", environment=apply)) for _ in range(2)] == [
        sorted(one.user for one in said.values()), [],
    ]  # fmt: skip
    secrets_of = {job: mounted(tmp_path / job, one.user, one.password) for job, one in said.items()}
    for export in generate(months=2, customers=60):
        write_export(export, tmp_path / "exports")
    for found in exports(tmp_path / "exports"):
        when = ["--as-of", isoformat(found.as_of), "--delivered-at", isoformat(found.delivered_at)]
        succeeds(run("jobs.ingest", *when, str(found.path), environment=secrets_of["ingest"]))
    succeeds(run("jobs.materialize", environment=secrets_of["materialize"]))
    output = ["--output", str(tmp_path / "set")]
    succeeds(run("jobs.training_set", *output, environment=secrets_of["training_set"]))
    with feature_server(secrets_of["feature_server"], tmp_path / "log") as client:
        asked = {"features": ["subs_profile_fv:months_active"], "entities": {"user_id": ["7590-VHVEG"]}}
        assert client.post("/get-online-features", json=asked).status_code == 200


def changed_by(apply: Ended) -> list[str]:
    """The logins that an apply says it has changed."""
    succeeds(apply)
    (line,) = [line for line in apply.lines if line["event"] == "logins"]
    changed: list[str] = line["changed"]
    return changed


def succeeds(ended: Ended) -> None:
    assert ended.code == 0, ended.out + ended.err


@contextlib.contextmanager
def feature_server(settings: dict[str, str], log: Path) -> Iterator[httpx.Client]:
    port = free_port()
    command = [sys.executable, "-m", "jobs.feature_server", "--port", str(port)]
    child = start_child(command, log=log, environment={**os.environ, **settings}, working_directory=REPOSITORY)
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


def test_a_job_whose_environment_and_files_differ_is_refused_before_it_connects(database: str, tmp_path: Path) -> None:
    settings = {**mounted(tmp_path / "secrets", "owner", "owner"), "PGUSER": "somebody"}
    ended = run("jobs.materialize", environment=settings)
    assert (ended.code, ended.out) == (
        2, f"materialize: failed (exit 2): PGUSER and the file pguser of {SECRETS_DIR} differ; give one of the two\n",
    )  # fmt: skip


# --- what the folder of logins may say


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a login for ingest, which the variable names."""
    monkeypatch.setenv(LOGINS_DIR, str(tmp_path))
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "username").write_text("loader\n")
    (tmp_path / "ingest" / "password").write_text("x y\n")
    return tmp_path


def test_the_folder_says_user_and_password_of_the_jobs_it_names(folder: Path) -> None:
    assert load_logins() == [Login("ingest", "loader", "x y")]
    assert "x y" not in repr(load_logins())


def test_without_the_variable_there_are_no_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOGINS_DIR, raising=False)
    assert load_logins() == []


def _unknown_job(folder: Path) -> None:
    (folder / "apply").mkdir()


def _missing(folder: Path) -> None:
    (folder / "ingest" / "password").unlink()


def _empty(folder: Path) -> None:
    (folder / "ingest" / "username").write_text("\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_unknown_job, "FEATURE_PLATFORM_LOGINS_DIR holds apply, which is no job with a login; those are ingest, "),
        (_missing, "{folder}/ingest/password cannot be read: No such file or directory"),
        (_empty, "{folder}/ingest/username is empty"),
    ],
)
def test_what_the_folder_may_not_say_is_refused_in_one_sentence_with_exit_2_and_changes_nothing(
    folder: Path, spoil: Any, sentence: str, migrated_database: str, redis_client: Any
) -> None:
    spoil(folder)
    ended = run("jobs.apply")
    assert (ended.code, ended.out.count("\n")) == (2, 1)
    assert sentence.format(folder=folder) in ended.out
    with psycopg.connect() as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'registry'").fetchone()
    assert tables == (0,)


def test_a_variable_that_names_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOGINS_DIR, "/nowhere")
    with pytest.raises(UsageError, match=r"^FEATURE_PLATFORM_LOGINS_DIR is /nowhere, which is not a folder$"):
        load_logins()
