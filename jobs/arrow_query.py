"""Queries whose answer streams as Arrow, by ADBC's Postgres driver: binary COPY underneath, no Python object per value.

The driver's low-level interface: its DBAPI one imports pandas, which takes longer than many a query.
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from psycopg import sql

from jobs.errors import JobError, UsageError

BATCH_BYTES = 1 << 20
"""About so many bytes of the answer are one batch."""
# What Postgres says of a table, column or function that is not there, or not of a type that the query can use.
_MISFITS = frozenset({"42P01", "42703", "42883", "42804", "42601"})


class ArrowSession:
    """A read-only transaction in UTC that answers queries as Arrow. Not for several threads, but for `cancel`."""

    def __init__(self, connection: adbc_driver_manager.AdbcConnection) -> None:
        self._connection = connection
        self._statement: adbc_driver_manager.AdbcStatement | None = None

    def batches(self, query: str) -> Generator[pa.RecordBatch, None, None]:
        """The rows of `query`, which holds its values as literals, as they arrive: BATCH_BYTES at a time.

        A query without rows gives one batch without rows, which tells the columns.

        Raises UsageError for a query that does not fit the tables, JobError when Postgres fails.
        """
        with adbc_driver_manager.AdbcStatement(self._connection) as statement:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            statement.set_sql_query(query)
            self._statement = statement
            try:
                with _told():
                    stream, _ = statement.execute_query()
                    reader = pa.RecordBatchReader.from_stream(stream)
                batch = _next(reader)
                yield _no_rows(reader.schema) if batch is None else batch
                while batch is not None and (batch := _next(reader)) is not None:
                    yield batch
            finally:
                self._statement = None

    def cancel(self) -> None:
        """End the running query, which raises JobError in its thread."""
        if (statement := self._statement) is not None:
            with suppress(adbc_driver_manager.Error):  # it has ended meanwhile
                statement.cancel()

    def execute(self, command: str) -> None:
        """Run a command without an answer."""
        with _told(), adbc_driver_manager.AdbcStatement(self._connection) as statement:
            statement.set_sql_query(command)
            statement.execute_update()


class ArrowDatabase:
    """A database whose types the driver has read, which takes longer than to connect; for several threads."""

    def __init__(self, database: adbc_driver_manager.AdbcDatabase) -> None:
        self._database = database
        # The driver counts its open connections without one, loses count, and then will not close the database.
        self._counting = threading.Lock()

    @contextmanager
    def session(self, snapshot_id: str | None = None) -> Iterator[ArrowSession]:
        """A session, which reads the snapshot that another one's pg_export_snapshot() named, if that is given."""
        with ExitStack() as opened:
            with _told(), self._counting:
                connection = adbc_driver_manager.AdbcConnection(self._database)
            opened.callback(self._close, connection)
            with _told():
                connection.set_autocommit(False)
            session = ArrowSession(connection)
            session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if snapshot_id is not None:
                session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id)).as_string(None))
            session.execute("SET LOCAL TIME ZONE 'UTC'")
            yield session

    def _close(self, connection: adbc_driver_manager.AdbcConnection) -> None:
        with self._counting:
            connection.close()


@contextmanager
def arrow_database(conninfo: str) -> Iterator[ArrowDatabase]:
    """The database at libpq's connection string `conninfo` (not empty), which stands over libpq's environment."""
    with ExitStack() as opened:
        with _told():
            database = opened.enter_context(adbc_driver_postgresql.connect(conninfo))
        yield ArrowDatabase(database)


@contextmanager
def arrow_session(conninfo: str, snapshot_id: str | None = None) -> Iterator[ArrowSession]:
    """A session of its own at `conninfo`; see `arrow_database` and its `session`."""
    with arrow_database(conninfo) as database, database.session(snapshot_id) as session:
        yield session


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    # Not by from_pylist, which cannot make a list of a type that Arrow does not know, as numeric[] is.
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    with _told(), suppress(StopIteration):
        return reader.read_next_batch()
    return None


@contextmanager
def _told() -> Iterator[None]:
    """ADBC's errors as ours: the first line alone, for what follows repeats the query."""
    try:
        yield
    except adbc_driver_manager.Error as error:
        kind = UsageError if error.sqlstate in _MISFITS else JobError
        raise kind(f"Postgres said: {_sentence(str(error))}") from error
    except (pa.ArrowException, OSError) as error:  # what fails in the middle of a stream comes by Arrow
        raise JobError(f"Postgres said: {_sentence(str(error))}") from error


def _sentence(text: str) -> str:
    line = text.splitlines()[0] if text else "nothing"
    reason = line.rpartition("ERROR:")[2].rpartition("[libpq]")[2]
    return " ".join(reason.split())
