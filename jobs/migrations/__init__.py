"""Migrations: numbered SQL files that only ever add, each applied once and in order."""

import hashlib
from pathlib import Path

import psycopg
from psycopg import sql

from jobs.errors import UsageError

SCHEMAS = ("offline", "registry", "ledger")
FOLDER = Path(__file__).parent
"""The platform's own migrations."""


class NeedsCommitError(UsageError):
    """A migration uses a value of an enum that one before adds, for which Postgres wants a commit between the two."""


def migrate_ledger(connection: psycopg.Connection) -> list[str]:
    """Create the schemas and the ledger; returns the names of the files that were applied now."""
    with connection.transaction():
        # Creating a schema "if not exists" still races; one session at a time does it.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('feature-platform migrations'))")
        for schema in SCHEMAS:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        connection.execute(
            """CREATE TABLE IF NOT EXISTS ledger.migrations (
                   name text PRIMARY KEY,
                   sha256 text NOT NULL,
                   applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"""
        )
    return _migrate(connection, FOLDER, "platform")


def migrate_repository(connection: psycopg.Connection, repository: Path) -> list[str]:
    """Bring schema `offline` to the repository's `migrations/*.sql`; returns the names of the files applied now.

    Each file is a transaction of its own, or part of the one that `connection` is in. Raises UsageError when a file
    that was applied before has changed since, or one does not run.
    """
    return _migrate(connection, repository / "migrations", "repository")


def _migrate(connection: psycopg.Connection, folder: Path, origin: str) -> list[str]:
    applied = []
    for file in sorted(folder.glob("*.sql")):
        name, text = f"{origin}/{file.name}", file.read_bytes()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('feature-platform migrations'))")
            if _is_applied(connection, name, hashlib.sha256(text).hexdigest()):
                continue
            connection.execute("SET LOCAL search_path = offline")
            try:
                connection.execute(text)
            except psycopg.errors.UnsafeNewEnumValueUsage as error:
                raise NeedsCommitError(f"migration {name} does not run: {str(error).strip()}") from error
            except (psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError) as error:
                raise UsageError(f"migration {name} does not run: {str(error).strip()}") from error
            applied.append(name)
    return applied


def _is_applied(connection: psycopg.Connection, name: str, sha256: str) -> bool:
    row = connection.execute("SELECT sha256 FROM ledger.migrations WHERE name = %s", (name,)).fetchone()
    if row is None:
        connection.execute("INSERT INTO ledger.migrations (name, sha256) VALUES (%s, %s)", (name, sha256))
        return False
    if row[0] != sha256:
        raise UsageError(f"migration {name} was applied before with other contents; add a new file, never change one")
    return True
