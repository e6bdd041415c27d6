"""The jobs' logins: user name and password of each as mounted files, and what Postgres must hold for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from jobs import postgres
from jobs.errors import JobError, UsageError
from jobs.roles import NEEDS, ROLES, role_of
from jobs.settings import PREFIX, folder_named_by, read_secret

# Since Postgres 16 a membership is noted once per grantor, and says whether it is inherited.
FIRST_WITH_MANY_GRANTS = 160_000


@dataclass(frozen=True)
class Login:
    """Whom a job connects as."""

    job: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Change:
    """A statement that makes a login what it must be. It holds the password's SCRAM verifier, not the password."""

    login: Login
    statement: sql.Composed = field(repr=False)
    command: str
    """The same for an administrator to run, with `'...'` where the password goes."""


def load_logins() -> list[Login]:
    """The logins of the folder FEATURE_PLATFORM_LOGINS_DIR (files JOB/username, JOB/password); none if it is not set.

    Raises UsageError for a job that there is not, and for a file that is missing or empty.
    """
    folder = folder_named_by("LOGINS_DIR")
    if folder is None:
        return []
    # A Kubernetes volume keeps its files in hidden folders of its own.
    return [_read(entry) for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]


def changes(connection: psycopg.Connection, logins: Sequence[Login]) -> list[Change]:
    """What must change so that each login can connect with its password and is a member of its job's role alone.

    The connection's own user is left as it is. Raises UsageError for a name that no login, or not two, may have.
    """
    others = _others(connection, logins)
    for number, login in enumerate(others):
        _check_name(login, others[:number])
    return [change for login in others for change in (*_entry(connection, login), *_memberships(connection, login))]


def make(connection: psycopg.Connection, wanted: Sequence[Change]) -> None:
    """Make all of these changes or none; the jobs' roles must exist.

    Raises UsageError with the commands for an administrator when the connection's user may not make them.
    """
    try:
        with connection.transaction():
            for change in wanted:
                connection.execute(change.statement)
    except psycopg.errors.InsufficientPrivilege as error:
        users = ", ".join(dict.fromkeys(change.login.user for change in wanted))
        raise UsageError(
            f"user {connection.info.user} may not make the logins {users} what they must be; run this as an "
            "administrator of the Postgres cluster, with the passwords that apply was given, then apply again: "
            + " ".join(change.command for change in wanted)
        ) from error


def check(connection: psycopg.Connection, logins: Sequence[Login]) -> None:
    """Return if every login can connect; raises JobError that says which one cannot, and why."""
    for login in _others(connection, logins):
        reason = _refusal(login)
        if reason is not None:
            raise JobError(f"the login {login.user} of {login.job} does not work: {reason}")


def _read(folder: Path) -> Login:
    if folder.name not in NEEDS:
        raise UsageError(
            f"{PREFIX}LOGINS_DIR holds {folder.name}, which is no job with a login; those are {', '.join(NEEDS)}"
        )
    said = {name: read_secret(folder / name) for name in ("username", "password")}
    for name, value in said.items():
        if not value:
            raise UsageError(f"{folder / name} is empty")
    return Login(folder.name, said["username"], said["password"])


def _others(connection: psycopg.Connection, logins: Sequence[Login]) -> list[Login]:
    return [login for login in logins if login.user != connection.info.user]


def _check_name(login: Login, before: Sequence[Login]) -> None:
    if login.user in ROLES:
        raise UsageError(f"the login of {login.job} is named {login.user}, as a group of logins is; name it otherwise")
    for other in before:
        if login.user == other.user:
            raise UsageError(f"{other.job} and {login.job} have the same login {login.user}; give each its own")


def _entry(connection: psycopg.Connection, login: Login) -> Iterator[Change]:
    """The change, if one is needed, after which the login exists and has its password."""
    query = "SELECT rolcanlogin AND rolinherit FROM pg_roles WHERE rolname = %s"
    there = connection.execute(query, (login.user,)).fetchone()
    if there != (True,) or _refusal(login) is not None:
        verb = sql.SQL("CREATE" if there is None else "ALTER")
        statement = sql.SQL("{} ROLE {} LOGIN INHERIT PASSWORD {}")
        # Made here, so that neither the server nor its log ever sees the password.
        verifier = connection.pgconn.encrypt_password(login.password.encode(), login.user.encode(), b"scram-sha-256")
        user = sql.Identifier(login.user)
        yield Change(
            login,
            statement.format(verb, user, sql.Literal(verifier.decode())),
            _command(connection, statement.format(verb, user, sql.Literal("..."))),
        )


def _memberships(connection: psycopg.Connection, login: Login) -> Iterator[Change]:
    """The changes that are needed for the login to have its job's role and no other's."""
    many_grants = connection.info.server_version >= FIRST_WITH_MANY_GRANTS
    user, role = sql.Identifier(login.user), role_of(login.job)
    query = """SELECT pg_has_role(member.oid, role.oid, 'USAGE') FROM pg_roles member, pg_roles role
               WHERE member.rolname = %s AND role.rolname = %s"""
    if connection.execute(query, (login.user, role)).fetchone() != (True,):
        how = " WITH INHERIT TRUE" if many_grants else ""
        yield _change(connection, login, sql.SQL("GRANT {} TO {}" + how).format(sql.Identifier(role), user))
    query = """SELECT role.rolname, grantor.rolname FROM pg_auth_members m JOIN pg_roles role ON role.oid = m.roleid
               JOIN pg_roles member ON member.oid = m.member JOIN pg_roles grantor ON grantor.oid = m.grantor
               WHERE member.rolname = %s AND role.rolname = ANY (%s) AND role.rolname <> %s"""
    for too_much, grantor in connection.execute(query, (login.user, list(ROLES), role)).fetchall():
        revocation = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(too_much), user)
        whose = sql.SQL(" GRANTED BY {}").format(sql.Identifier(grantor)) if many_grants else sql.SQL("")
        yield _change(connection, login, revocation + whose)


def _change(connection: psycopg.Connection, login: Login, statement: sql.Composed) -> Change:
    return Change(login, statement, _command(connection, statement))


def _command(connection: psycopg.Connection, statement: sql.Composed) -> str:
    return statement.as_string(connection) + ";"


def _refusal(login: Login) -> str | None:
    """Why the login cannot connect; None when it can."""
    try:
        postgres.connect("apply login", user=login.user, password=login.password).close()
    except JobError as error:
        return str(error)
    return None
