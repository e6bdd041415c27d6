"""Connections to Postgres, by libpq's own environment: PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE.

User and password may be mounted files, which `export_credentials` turns into PGUSER and PGPASSWORD.
"""

import os

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from jobs.errors import JobError, UsageError
from jobs.settings import PREFIX, folder_named_by, read_secret

CREDENTIAL_FILES = {"PGUSER": "pguser", "PGPASSWORD": "pgpassword"}
REQUIRED = ("PGHOST", "PGDATABASE", "PGUSER")
CONNECT_TIMEOUT_SECONDS = 10
# A server that vanished without a word is given up after a minute, also in the middle of a long query.
KEEPALIVES = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=60000"


def export_credentials() -> None:
    """Put what the files `pguser` and `pgpassword` of FEATURE_PLATFORM_SECRETS_DIR say into this process's environment.

    All that libpq does in this process reads them there, Feast's engine too; a file that is empty or absent says
    nothing. Raises UsageError when the environment says something else already.
    """
    folder = folder_named_by("SECRETS_DIR")
    if folder is None:
        return
    for variable, name in CREDENTIAL_FILES.items():
        file = folder / name
        value = read_secret(file) if file.exists() else ""
        if value and (os.environ.get(variable) or value) != value:
            raise UsageError(f"{variable} and the file {name} of {PREFIX}SECRETS_DIR differ; give one of the two")
        if value:
            os.environ[variable] = value


def conninfo(application_name: str, options: str = "") -> str:
    """libpq's connection string of such a session; `options` are further ones of the server's command line.

    Raises UsageError when a needed setting is missing.
    """
    missing = [name for name in REQUIRED if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not set; Postgres is named by libpq's variables PGHOST, PGDATABASE, PGUSER"
        )
    return make_conninfo(
        KEEPALIVES,
        application_name=f"feature-platform {application_name}",
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=f"-c TimeZone=UTC -c search_path=offline {options}".strip(),
    )


def connect(
    application_name: str, *, autocommit: bool = False, user: str | None = None, password: str | None = None
) -> psycopg.Connection:
    """A connection whose session speaks UTC and finds unqualified tables in schema `offline`.

    As the environment's user, unless `user` and `password` are given.
    Raises UsageError when a needed setting is missing and JobError when the server cannot be reached.
    """
    try:
        return psycopg.connect(conninfo(application_name), autocommit=autocommit, user=user, password=password)
    except psycopg.OperationalError as error:
        where = f"{os.environ['PGHOST']}:{os.environ.get('PGPORT', '5432')}/{os.environ['PGDATABASE']}"
        raise JobError(f"Postgres at {where} cannot be reached: {_reason(error)}") from error


def estimated_rows(connection: psycopg.Connection, query: str) -> int:
    """How many rows the planner expects of `query`, which is not run."""
    explained = connection.execute(
        sql.SQL("EXPLAIN (FORMAT JSON) {}").format(sql.SQL(query)).as_string(None)
    ).fetchone()
    return int(explained[0][0]["Plan"]["Plan Rows"]) if explained else 0


def _reason(error: psycopg.Error) -> str:
    # psycopg repeats host and port and adds hints on lines of their own; what comes after the last "failed" is why.
    return " ".join(str(error).split()).rpartition(" failed: ")[2]
