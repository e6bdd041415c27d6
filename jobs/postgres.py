"""Connections to Postgres, by libpq's own environment: PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE."""

import os

import psycopg

from jobs.errors import JobError, UsageError

REQUIRED = ("PGHOST", "PGDATABASE", "PGUSER")
CONNECT_TIMEOUT_SECONDS = 10

ENVIRONMENT_HELP = """\
environment:
  PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD or PGPASSFILE, PGSSLMODE, PGSSLROOTCERT
                        Postgres, as libpq names it
  FEATURE_PLATFORM_REPO                     the Feast repository (default feature_repo)
  FEATURE_PLATFORM_PROJECT                  the Feast project
  FEATURE_PLATFORM_REDIS_CONNECTION_STRING  Redis, as Feast writes it: host:port,username=...,password=...,ssl=true
  FEATURE_PLATFORM_REDIS_TYPE               redis (default), redis_sentinel or redis_cluster
  FEATURE_PLATFORM_REDIS_SENTINEL_MASTER    the name that the Sentinels know Redis by (default mymaster)
  FEATURE_PLATFORM_SECRETS_DIR              a folder of files, each named like a lower-case FEATURE_PLATFORM_ variable
  FEATURE_PLATFORM_TERMINATION_LOG          a file that gets the one-line summary (Kubernetes: /dev/termination-log)
"""


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
            "",
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
