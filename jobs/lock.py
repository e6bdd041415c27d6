"""The writer lock: one Postgres advisory lock that every job that writes takes, so that no two write at once."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import psycopg

from jobs import postgres
from jobs.errors import LockHeldError, LockLostError

WRITER_LOCK = 0x46505752  # "FPWR"
POLL_SECONDS = 0.1
HEARTBEAT_SECONDS = 1.0
# A server that does not answer for this long may have given the lock away: the holder stops before that can matter.
HEARTBEAT_TIMEOUT_SECONDS = 3.0
RELEASE_SECONDS = 1.0


class WriterLock:
    """A held writer lock; its connection does nothing else, so the server notices at once when the holder dies."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._last_beat = time.monotonic()
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="writer-lock", daemon=True)
        self._thread.start()

    @property
    def backend_pid(self) -> int:
        """The server's process that holds the lock."""
        return self._connection.info.backend_pid

    def check(self) -> None:
        """Return while the lock is surely held; call it before every write. Raises LockLostError."""
        if self._lost.is_set() or time.monotonic() - self._last_beat > HEARTBEAT_TIMEOUT_SECONDS:
            raise LockLostError("the connection that held the writer lock was lost; nothing was written after that")

    def release(self) -> None:
        """Give the lock back, also when the server does not answer. Safe to repeat."""
        self._stopped.set()
        self._thread.join(RELEASE_SECONDS)
        if self._thread.is_alive():  # it waits for a server that has stopped answering; cutting the line wakes it
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
            self._thread.join()
        self._connection.close()

    def _watch(self) -> None:
        # The server closing the connection makes its socket readable: `notifies` wakes up then, not at the next beat.
        while not self._stopped.is_set():
            try:
                for _ in self._connection.notifies(timeout=POLL_SECONDS):
                    pass
                if time.monotonic() - self._last_beat > HEARTBEAT_SECONDS:
                    self._connection.execute("SELECT 1")
                    self._last_beat = time.monotonic()
            except psycopg.Error:
                self._lost.set()
                return


class HeldElsewhere:
    """The writer lock that another process holds, for whom this one writes; a context manager."""

    def __init__(self, backend_pid: int) -> None:
        """`backend_pid` is the holder's."""
        self._backend_pid = backend_pid
        self._connection = postgres.connect("writer lock watch", autocommit=True)

    def check(self) -> None:
        """Return while the lock is held, as the server says now; call it before every write. Raises LockLostError."""
        query = """SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted
                   AND pid = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        if self._connection.execute(query, (WRITER_LOCK, self._backend_pid)).fetchone() is None:
            raise LockLostError("the run for which this was written has lost the writer lock, or is gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@contextmanager
def writer_lock(wait_seconds: float, connection: psycopg.Connection | None = None) -> Iterator[WriterLock]:
    """Hold the writer lock, waiting for it up to `wait_seconds`. Raises LockHeldError when another writer keeps it.

    On `connection`, which is in autocommit and closed at the end, or on one to where the environment says.
    """
    connection = connection or postgres.connect("writer lock", autocommit=True)
    try:
        _acquire(connection, wait_seconds)
        lock = WriterLock(connection)
    except BaseException:
        connection.close()
        raise
    try:
        yield lock
    finally:
        lock.release()


def _acquire(connection: psycopg.Connection, wait_seconds: float) -> None:
    # lock_timeout, not a polling loop: waiters are served in order. 0 would mean "for ever".
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, round(wait_seconds * 1000))}ms",))
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (WRITER_LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        raise LockHeldError(
            f"another writer holds the lock and did not finish within {wait_seconds:g} s; try again, or wait longer"
        ) from error
