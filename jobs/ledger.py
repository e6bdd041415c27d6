"""The ledger: a row per run, written at its start and at its end (table `ledger.runs`)."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from jobs.errors import UsageError

Json = Any
"""What `json.dumps` takes."""

RUN_LOCK_CLASS = 0x46505255  # "FPRU": the first half of the advisory lock that a living run holds on its own row


def start_run(connection: psycopg.Connection, job: str, arguments: Mapping[str, Json]) -> int:
    """Write the row of a run that starts now and return its run_id; runs that died unseen are marked `lost`.

    The connection holds the run's advisory lock until it closes: so a later run tells the living from the dead.
    Raises UsageError when the ledger does not exist yet.
    """
    try:
        _mark_lost_runs(connection)
        row = connection.execute(
            "INSERT INTO ledger.runs (job, arguments) VALUES (%s, %s) RETURNING run_id, pg_advisory_lock(%s, run_id)",
            (job, Jsonb(dict(arguments)), RUN_LOCK_CLASS),
        ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise UsageError("this database has no ledger yet; run `python -m jobs.apply` first") from error
    assert row is not None
    return int(row[0])


def finish_run(
    connection: psycopg.Connection, run_id: int, *, exit_code: int, summary: str, details: Mapping[str, Json]
) -> None:
    """Write the end of a run: its exit code, its one-line summary and what it wants remembered."""
    connection.execute(
        """UPDATE ledger.runs
           SET state = %s, finished_at = clock_timestamp(), exit_code = %s, summary = %s, details = %s
           WHERE run_id = %s""",
        ("succeeded" if exit_code == 0 else "failed", exit_code, summary, Jsonb(dict(details)), run_id),
    )


def _mark_lost_runs(connection: psycopg.Connection) -> None:
    # A run that lives holds the lock on its run_id; where it can be had, the run died without a word.
    connection.execute(
        """UPDATE ledger.runs SET state = 'lost', finished_at = clock_timestamp()
           WHERE state = 'running' AND NOT EXISTS (
               SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = run_id AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))""",
        (RUN_LOCK_CLASS,),
    )
