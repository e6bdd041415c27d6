"""Sessions in which the offline store is read: in UTC, read-only, and all on one snapshot where that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import psycopg
from feast.infra.utils.postgres.connection_utils import _get_conn, _get_conn_kwargs, _get_conninfo
from feast.infra.utils.postgres.postgres_config import PostgreSQLConfig
from psycopg import sql
from psycopg.conninfo import make_conninfo

from jobs.arrow_query import arrow_database
from jobs.arrow_snapshot import ArrowSnapshot

_snapshot: ContextVar[str | None] = ContextVar("offline_snapshot", default=None)


@contextmanager
def exported_snapshot(config: PostgreSQLConfig) -> Iterator[psycopg.Connection]:
    """A session that reads one snapshot of the offline store; every offline query within the block reads the same."""
    with offline_session(config) as connection:
        connection.rollback()
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        # It waits, in its transaction, for as long as the other sessions need.
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        (snapshot_id,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or (None,)
        token = _snapshot.set(snapshot_id)
        try:
            yield connection
        finally:
            _snapshot.reset(token)


@contextmanager
def offline_session(config: PostgreSQLConfig) -> Iterator[psycopg.Connection]:
    """A connection in UTC that cannot write."""
    with _get_conn(config) as connection:
        connection.read_only = True
        snapshot_id = _snapshot.get()
        if snapshot_id is not None:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot_id)))
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        yield connection


@contextmanager
def arrow_snapshot(config: PostgreSQLConfig, timeout_seconds: float | None = None) -> Iterator[ArrowSnapshot]:
    """What `exported_snapshot` shows, as Arrow; only within its block."""
    snapshot_id = _snapshot.get()
    assert snapshot_id is not None
    with arrow_database(conninfo_of(config)) as database:
        yield ArrowSnapshot(database, snapshot_id, timeout_seconds)


@contextmanager
def either_snapshot(
    config: PostgreSQLConfig, timeout_seconds: float | None = None
) -> Iterator[tuple[psycopg.Connection, ArrowSnapshot]]:
    """A connection and Arrow sessions on the snapshot of the block around, or on a new one."""
    opened = exported_snapshot(config) if _snapshot.get() is None else offline_session(config)
    with opened as connection, arrow_snapshot(config, timeout_seconds) as snapshot:
        yield connection, snapshot


def conninfo_of(config: PostgreSQLConfig) -> str:
    """What Feast connects with, as one string of libpq's."""
    keywords = {name: value for name, value in _get_conn_kwargs(config).items() if value is not None}
    return make_conninfo(_get_conninfo(config), keepalives_idle=config.keepalives_idle or None, **keywords)
