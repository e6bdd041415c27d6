"""Connections to Postgres, by libpq's own environment: PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE."""

import os

import psycopg

from jobs.errors import JobError, UsageError

REQUIRED = ("PGHOST", "PGDATABASE", "PGUSER")
CONNECT_TIMEOUT_SECONDS = 10
# A server that vanished without a word is given up after a minute, also in the middle of a long query.
KEEPALIVES = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3 tcp_user_timeout=60000"


def connect(application_name: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection whose session speaks UTC and finds unqualified tables in schema `offline`.

    Raises UsageError when a needed setting is missing and JobError when the server cannot be reached.
    """
    missing = [name for name in REQUIRED if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not set; Postgres is named by libpq's variables PGHOST, PGDATABASE, PGUSER"
        )
    try:
        return psycopg.connect(
            KEEPALIVES,
            application_name=f"feature-platform {application_name}",
            autocommit=autocommit,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            options="-c TimeZone=UTC -c search_path=offline",
        )
    except psycopg.OperationalError as error:
        where = f"{os.environ['PGHOST']}:{os.environ.get('PGPORT', '5432')}/{os.environ['PGDATABASE']}"
        raise JobError(f"Postgres at {where} cannot be reached: {_reason(error)}") from error


def _reason(error: psycopg.Error) -> str:
    # psycopg repeats host and port and adds hints on lines of their own; what comes after the last "failed" is why.
    return " ".join(str(error).split()).rpartition(" failed: ")[2]
