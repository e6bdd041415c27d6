"""Brings one table to what an export says of one instant, by appending rows only."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from jobs.errors import VerificationError
from jobs.exports.contract import Contract
from jobs.exports.reader import Export

COPY_ROWS = 50_000
# The newest row of every key at one instant: the state that is known now, tombstones included.
CURRENT = """
    SELECT DISTINCT ON ({key}) {all}, tombstone FROM {table} WHERE {instant} = %s ORDER BY {key}, created_at DESC"""
COUNT_KNOWN_BY = """
    SELECT count(*) FROM (
        SELECT DISTINCT ON ({key}) tombstone FROM {table} WHERE {instant} = %s AND created_at <= %s
        ORDER BY {key}, created_at DESC
    ) newest WHERE NOT tombstone"""
APPEND_TOMBSTONES = """
    WITH current_row AS ({current})
    INSERT INTO {table} ({key}, {instant}, created_at, tombstone)
    SELECT {current_key}, %s, %s, true FROM current_row LEFT JOIN {incoming} incoming USING ({key})
    WHERE incoming.{one_key} IS NULL AND NOT current_row.tombstone"""
APPEND_ROWS = """
    WITH current_row AS ({current})
    INSERT INTO {table} ({all}, {instant}, created_at)
    SELECT {incoming_all}, %s, %s FROM {incoming} incoming LEFT JOIN current_row USING ({key})
    WHERE current_row.tombstone IS NOT false OR ROW({incoming_all}) IS DISTINCT FROM ROW({current_all})"""
DIFFERS = """
    WITH shown AS (SELECT {all} FROM ({current}) newest WHERE NOT tombstone)
    SELECT EXISTS ((TABLE shown EXCEPT TABLE {incoming}) UNION ALL (TABLE {incoming} EXCEPT TABLE shown))"""


@dataclass(frozen=True)
class Loaded:
    """What a load appended to a table."""

    rows: int
    tombstones: int


class SnapshotLoader:
    """Reads and appends the rows of one contract's table and one instant, within the connection's transaction."""

    def __init__(self, connection: psycopg.Connection, contract: Contract, instant: datetime) -> None:
        """`connection` finds the table on its search_path; what is appended lasts once its transaction commits."""
        self._connection = connection
        self._instant = instant
        self._columns = [*contract.key, *(name for name in contract.columns if name not in contract.key)]
        self._table = contract.table
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier(contract.table),
            "incoming": sql.Identifier(f"incoming_{contract.export}"),
            "instant": sql.Identifier(contract.instant),
            "key": _listed(contract.key),
            "one_key": sql.Identifier(contract.key[0]),
            "current_key": _listed(contract.key, "current_row"),
            "all": _listed(self._columns),
            "current_all": _listed(self._columns, "current_row"),
            "incoming_all": _listed(self._columns, "incoming"),
        }
        self._names["current"] = self._sql(CURRENT)

    def newest_created_at(self) -> datetime | None:
        """Since when the newest row of the instant is known; None without rows."""
        newest: datetime | None = self._value("SELECT max(created_at) FROM {table} WHERE {instant} = %s", self._instant)
        return newest

    def count(self, known_by: datetime | None = None) -> int:
        """How many rows the table holds for the instant as far as they were known by then (default: now)."""
        if known_by is None:
            return self._count_at(self._instant)
        return int(self._value(COUNT_KNOWN_BY, self._instant, known_by))

    def count_before(self) -> int | None:
        """The same for the newest instant before this one; None if there is no such instant."""
        before = self._value("SELECT max({instant}) FROM {table} WHERE {instant} < %s", self._instant)
        return None if before is None else self._count_at(before)

    def stage(self, export: Export, copied: Callable[[int], None]) -> None:
        """Copy the export to a temporary table; `copied` is told how many rows went over."""
        self._execute("CREATE TEMP TABLE {incoming} ON COMMIT DROP AS SELECT {all} FROM {table} WITH NO DATA")
        statement = self._sql("COPY {incoming} ({all}) FROM STDIN (FORMAT csv)")
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in export.table.select(self._columns).to_batches(COPY_ROWS):
                copy.write(_as_csv(batch))
                copied(batch.num_rows)
        self._execute("ANALYZE {incoming}")

    def differs(self) -> bool:
        """Whether what is staged is not what the table shows for the instant."""
        return bool(self._value(DIFFERS, self._instant))

    def append(self, created_at: datetime) -> Loaded:
        """Append what is staged and differs from what is known, and a tombstone for each key that is staged no more."""
        instants = (self._instant, self._instant, created_at)
        tombstones = self._execute(APPEND_TOMBSTONES, *instants)
        return Loaded(rows=self._execute(APPEND_ROWS, *instants), tombstones=tombstones)

    def verify(self, rows: int) -> None:
        """Raises VerificationError unless the table now shows as many rows as the export has."""
        if (found := self.count()) != rows:
            raise VerificationError(f"{self._table} shows {found:,} rows, the export has {rows:,}; nothing was kept")

    def _count_at(self, instant: datetime) -> int:
        return int(self._value("SELECT count(*) FROM ({current}) newest WHERE NOT tombstone", instant))

    def _value(self, query: LiteralString, *values: object) -> Any:
        row = self._connection.execute(self._sql(query), values).fetchone()
        assert row is not None  # each query here is an aggregate
        return row[0]

    def _execute(self, query: LiteralString, *values: object) -> int:
        return self._connection.execute(self._sql(query), values).rowcount

    def _sql(self, query: LiteralString) -> sql.Composed:
        return sql.SQL(query).format(**self._names)


def _listed(names: Iterable[str], table: str | None = None) -> sql.Composable:
    qualified = (sql.Identifier(name) if table is None else sql.Identifier(table, name) for name in names)
    return sql.SQL(", ").join(qualified)


def _as_csv(batch: pa.RecordBatch) -> bytes:
    """What COPY reads back as the same values: text quoted, NULL as nothing, numbers by their shortest exact form."""
    written = io.BytesIO()
    csv.write_csv(batch, written, csv.WriteOptions(include_header=False))
    return written.getvalue()
