"""Who may do what in Postgres: a group role per job, with what the job needs and nothing beside it.

The roles cannot log in. A login is made a member of one, by `apply` (jobs/logins.py) or by an operator: `CREATE ROLE
loader LOGIN PASSWORD '...' IN ROLE feature_platform_ingest`. `apply` alone has none of them: it runs as the owner of
the schemas, and what it creates it grants.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from jobs import applied, resolved
from jobs.errors import UsageError
from jobs.migrations import SCHEMAS

PUBLIC = sql.SQL("PUBLIC")


@dataclass(frozen=True)
class Needs:
    """What one role may do besides connecting and reading what `apply` has applied."""

    select: tuple[str, ...] = ()
    """Schemas all of whose tables it reads."""
    insert: tuple[str, ...] = ()
    """Schemas to all of whose tables it appends."""
    update: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`schema.table` to the columns that it changes."""
    ledger: tuple[str, ...] | None = None
    """The columns of `ledger.runs` that it reads besides writing its own rows; None: it keeps no ledger."""
    temporary_tables: bool = False


FINDS_RUNS = ("run_id", "state")
BEGINS_RUN = ("job", "arguments")
ENDS_RUN = ("state", "finished_at", "exit_code", "summary", "details")
# Feast notes a materialization within the definition of the view, and when the project was changed last.
FEAST_NOTES_MATERIALIZATION = {
    "registry.feature_views": ("feature_view_proto", "last_updated_timestamp"),
    "registry.feast_metadata": ("project_id", "metadata_key", "metadata_value", "last_updated_timestamp"),
}
NEEDS = {
    # It looks for the run that loaded the same files before.
    "ingest": Needs(
        select=("offline",), insert=("offline",), ledger=(*FINDS_RUNS, "job", "details"), temporary_tables=True
    ),
    # It looks for what the run before left, which a repeat need not read again.
    "materialize": Needs(
        select=("offline", "registry"),
        update={**FEAST_NOTES_MATERIALIZATION, resolved.TABLE: ("registry_digest",)},
        ledger=(*FINDS_RUNS, "job", "details"),
    ),
    "training_set": Needs(select=("offline", "registry"), ledger=FINDS_RUNS),
    "feature_server": Needs(select=("registry",)),
}
"""What each job needs, by the job's name."""


def role_of(job: str) -> str:
    """The role of a job that is named in NEEDS."""
    return f"feature_platform_{job}"


ROLES = tuple(map(role_of, NEEDS))


def ensure_roles(connection: psycopg.Connection, then: Sequence[str] = ()) -> None:
    """Create the roles that the cluster lacks; any number of sessions may do so at once, in any of its databases.

    Raises UsageError, which names the missing ones, when the connection's user may not create roles; what an
    administrator is asked to run ends with the commands `then`.
    """
    missing = _missing_roles(connection)
    try:
        for role in missing:
            # Roles belong to the cluster and an advisory lock to one database: another session may be as far.
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation), connection.transaction():
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege as error:
        commands = " ".join([*(f"CREATE ROLE {role} NOLOGIN;" for role in missing), *then])
        raise UsageError(
            f"the roles {', '.join(missing)} are missing, and user {connection.info.user} may not create roles; "
            f"run this as an administrator of the Postgres cluster, then apply again: {commands}"
        ) from error


def grant(connection: psycopg.Connection) -> None:
    """Give each role what NEEDS says, and take everything else from it and from PUBLIC, in the platform's schemas.

    Holds for the tables that there are now; all or nothing, so that running jobs never see less. In the database
    itself PUBLIC loses TEMPORARY and keeps CONNECT, which others than the platform may live by. The roles must exist.
    Raises UsageError when the connection's user may not grant: it must own the schemas and their tables.
    """
    try:
        with connection.transaction():
            for statement in (*_revocations(connection), *_grants(connection), *_row_policies(connection)):
                connection.execute(statement)
            _check_database_privileges(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise UsageError(
            f"user {connection.info.user} may not grant the jobs' roles what they need: "
            f"{str(error).splitlines()[0]}; apply runs as the owner of the schemas {', '.join(SCHEMAS)} and all in them"
        ) from error


def _missing_roles(connection: psycopg.Connection) -> list[str]:
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    return [role for role in ROLES if role not in there]


def _revocations(connection: psycopg.Connection) -> Iterator[sql.Composed]:
    roles = _comma(sql.Identifier(role) for role in ROLES)
    everyone = sql.SQL("{}, {}").format(PUBLIC, roles)
    schemas = _comma(map(sql.Identifier, SCHEMAS))
    for what in ("ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA", "SCHEMA"):
        yield sql.SQL("REVOKE ALL ON {} {} FROM {}").format(sql.SQL(what), schemas, everyone)
    yield sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(_database(connection), roles)
    yield sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM {}").format(_database(connection), PUBLIC)


def _grants(connection: psycopg.Connection) -> Iterator[sql.Composed]:
    for job, needs in NEEDS.items():
        role = sql.Identifier(role_of(job))
        in_database = sql.SQL("CONNECT, TEMPORARY" if needs.temporary_tables else "CONNECT")
        yield sql.SQL("GRANT {} ON DATABASE {} TO {}").format(in_database, _database(connection), role)
        for privilege, schemas in (("SELECT", needs.select), ("INSERT", needs.insert)):
            for schema in map(sql.Identifier, schemas):
                yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role)
                yield sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}").format(sql.SQL(privilege), schema, role)
        for table, columns in needs.update.items():
            if _exists(connection, table):  # a repository may keep Feast's registry elsewhere
                yield _column_grant("UPDATE", columns, table, role)
        yield sql.SQL("GRANT USAGE ON SCHEMA ledger TO {}").format(role)
        for table in (applied.TABLE, resolved.TABLE):
            yield sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(*table.split(".")), role)
        if needs.ledger is not None:
            for privilege, columns in (("SELECT", needs.ledger), ("INSERT", BEGINS_RUN), ("UPDATE", ENDS_RUN)):
                yield _column_grant(privilege, columns, "ledger.runs", role)


def _row_policies(connection: psycopg.Connection) -> Iterator[sql.Composed]:
    """A job writes the rows of its own runs, and marks those of any job that died as lost."""
    # Making a policy locks the table against its readers: the ones that are there are left alone.
    query = "SELECT policyname FROM pg_policies WHERE schemaname = 'ledger' AND tablename = 'runs'"
    there = {name for (name,) in connection.execute(query)}
    if "all_read" not in there:
        yield sql.SQL("ALTER TABLE ledger.runs ENABLE ROW LEVEL SECURITY").format()
    for name, rule in _policies().items():
        if name not in there:
            yield sql.SQL("CREATE POLICY {} ON ledger.runs {}").format(sql.Identifier(name), rule)


def _policies() -> dict[str, sql.Composed]:
    policies = {"all_read": sql.SQL("FOR SELECT USING (true)").format()}
    for job in (job for job, needs in NEEDS.items() if needs.ledger is not None):
        names = {"role": sql.Identifier(role_of(job)), "job": sql.Literal(job)}
        policies[f"{job}_begins"] = sql.SQL("FOR INSERT TO {role} WITH CHECK (job = {job})").format(**names)
        policies[f"{job}_ends"] = sql.SQL(
            "FOR UPDATE TO {role} USING (job = {job} OR state = 'running') WITH CHECK (job = {job} OR state = 'lost')"
        ).format(**names)
    return policies


def _check_database_privileges(connection: psycopg.Connection) -> None:
    # To grant what one does not own is a warning for Postgres, not an error.
    query = "SELECT has_database_privilege(%s, current_database(), %s)"
    for job, needs in NEEDS.items():
        for privilege in ("CONNECT", *(["TEMPORARY"] if needs.temporary_tables else [])):
            if connection.execute(query, (role_of(job), privilege)).fetchone() != (True,):
                raise UsageError(
                    f"user {connection.info.user} does not own database {connection.info.dbname} and may not grant "
                    f"in it; run this as its owner: GRANT {privilege} ON DATABASE {connection.info.dbname} "
                    f"TO {role_of(job)}"
                )


def _column_grant(privilege: str, columns: Sequence[str], table: str, role: sql.Identifier) -> sql.Composed:
    return sql.SQL("GRANT {} ({}) ON {} TO {}").format(
        sql.SQL(privilege), _comma(map(sql.Identifier, columns)), sql.Identifier(*table.split(".")), role
    )


def _exists(connection: psycopg.Connection, table: str) -> bool:
    return connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone() == (True,)


def _database(connection: psycopg.Connection) -> sql.Identifier:
    return sql.Identifier(connection.info.dbname)


def _comma(parts: Iterable[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
