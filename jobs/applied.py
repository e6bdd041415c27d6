"""What `apply` has brought the database to (table `ledger.applied`), so that a job can wait for what it needs."""

import hashlib
import os
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

import psycopg

from jobs import VERSION, migrations

TABLE = "ledger.applied"


class Applied(Enum):
    """How a database stands to a fingerprint."""

    NEVER = auto()
    EARLIER = auto()
    """Something else was applied after it."""
    LAST = auto()


def fingerprint(repository: Path) -> str:
    """SHA-256 (hex) of all that `apply` goes by: the release, its migrations and every file of the repository.

    The same wherever the folder lies and however it was mounted: hidden folders (a Kubernetes volume keeps its files in
    one that is named by the time) and bytecode do not count.
    """
    total = hashlib.sha256(VERSION.encode())
    for folder in (migrations.FOLDER, repository):
        for name, file in _files(folder):
            contents = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"\0{name}\0{contents}".encode())
    return total.hexdigest()


def note(connection: psycopg.Connection, project: str, sha256: str) -> None:
    """Say that `sha256` is what is applied now. The caller holds the writer lock."""
    if look(connection, project, sha256) is not Applied.LAST:
        connection.execute("INSERT INTO ledger.applied (project, sha256) VALUES (%s, %s)", (project, sha256))


def look(connection: psycopg.Connection, project: str, sha256: str) -> Applied:
    """How the database stands to `sha256`; NEVER too where the table is not there or not to be read yet."""
    query = "SELECT sha256 = %s FROM ledger.applied WHERE project = %s ORDER BY number DESC"
    try:
        rows = [same for (same,) in connection.execute(query, (sha256, project))]
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        rows = []
    if not any(rows):
        return Applied.NEVER
    return Applied.LAST if rows[0] else Applied.EARLIER


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    found = []
    for where, inside, names in os.walk(folder, followlinks=True):
        inside[:] = [name for name in inside if not name.startswith(".") and name != "__pycache__"]
        found += [Path(where, name) for name in names]
    for file in sorted(found):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file
