"""The writer lock: one writer at a time, and none that writes on after its lock is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from jobs import lock
from jobs.errors import LockHeldError, LockLostError
from jobs.local.servers import PostgresServer
from jobs.lock import WRITER_LOCK, WriterLock, writer_lock
from tests.integration.job_process import run, started
from tests.process_support import wait_for

TINY = "tests.integration.tiny_job"
FIVEFOLD = 5


@pytest.fixture
def other(postgres_server: PostgresServer, migrated_database: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the database in which the lock is taken."""
    with postgres_server.connect(migrated_database) as connection:
        yield connection


def backends(other: psycopg.Connection, *, granted: bool = True) -> list[int]:
    """The pids of the server's processes that hold, or wait for, this database's writer lock."""
    query = """SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted = %s
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return [pid for (pid,) in other.execute(query, (WRITER_LOCK, granted))]


def is_lost(held: WriterLock) -> bool:
    try:
        held.check()
    except LockLostError:
        return True
    return False


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does not run meanwhile; nothing tells its peers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- refusals


@pytest.mark.parametrize("wait", [0.0, 0.5])
def test_a_second_writer_waits_as_long_as_it_was_told_and_is_refused(other: psycopg.Connection, wait: float) -> None:
    with writer_lock(0) as held:
        asked_at = time.monotonic()
        with pytest.raises(LockHeldError, match=f"did not finish within {wait:g} s") as refused, writer_lock(wait):
            raise AssertionError("two writers at once")
        waited = time.monotonic() - asked_at
        held.check()
    assert refused.value.exit_code == 75
    assert wait <= waited < FIVEFOLD * (wait + 0.5)
    wait_for(lambda: not backends(other), "the lock is free")


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "86401", ""])
def test_a_wrong_lock_wait_is_refused(other: psycopg.Connection, text: str) -> None:
    ended = run(TINY, "lock", f"--lock-wait={text}")
    assert (ended.code, ended.out) == (2, "")
    assert f"{text!r} is not a number of seconds from 0 to 86400" in ended.err


# --- waiting


def test_a_waiting_writer_gets_the_lock_when_it_is_released(other: psycopg.Connection) -> None:
    with started(TINY, "lock", "--lock-wait", "60") as waiting:
        with writer_lock(0):
            wait_for(lambda: backends(other, granted=False), "the second writer waits")
        released_at = time.monotonic()
        waiting.wait_for_event("held")
        assert time.monotonic() - released_at < FIVEFOLD
        assert waiting.end().code == 0


def test_the_lock_is_free_at_once_when_its_holder_is_killed(other: psycopg.Connection) -> None:
    with started(TINY, "hold") as holder:
        holder.wait_for_event("waiting")
        holder.process.kill()
        killed_at = time.monotonic()
        with writer_lock(60) as held:
            assert time.monotonic() - killed_at < FIVEFOLD
            held.check()


def test_the_lock_is_free_when_it_was_given_back(other: psycopg.Connection) -> None:
    for _ in range(2):
        with writer_lock(0) as held:
            held.check()
            assert len(backends(other)) == 1


def test_giving_it_back_twice_is_harmless(other: psycopg.Connection) -> None:
    with writer_lock(0) as held:
        held.release()
    wait_for(lambda: not backends(other), "the lock is free")


def test_a_lock_stays_held_for_longer_than_the_heartbeats_timeout(
    other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "HEARTBEAT_TIMEOUT_SECONDS", 1.0)
    with writer_lock(0) as held:
        since = time.monotonic()

        def outlives_the_timeout() -> bool:
            held.check()
            return time.monotonic() - since > 1.5

        wait_for(outlives_the_timeout, "the timeout has passed")


# --- losing it


def test_a_writer_whose_lock_connection_is_cut_stops_at_once(other: psycopg.Connection) -> None:
    with writer_lock(0) as held:
        held.check()
        (pid,) = backends(other)
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        cut_at = time.monotonic()
        wait_for(lambda: is_lost(held), "check() raises")
        assert time.monotonic() - cut_at < lock.HEARTBEAT_SECONDS, "the cut is noticed, not the missed beat"
        with pytest.raises(LockLostError, match="the connection that held the writer lock was lost"):
            held.check()
    with writer_lock(0) as next_one:
        next_one.check()


def test_a_writer_whose_server_stops_answering_stops_in_time_and_ends(other: psycopg.Connection) -> None:
    with writer_lock(0) as held:
        (pid,) = backends(other)
        with stopped(pid):
            stopped_at = time.monotonic()
            wait_for(lambda: is_lost(held), "check() raises")
            assert time.monotonic() - stopped_at < lock.HEARTBEAT_TIMEOUT_SECONDS + 1
            held.release()
            assert time.monotonic() - stopped_at < 10, "giving it back does not wait for the server"
    wait_for(lambda: not backends(other), "the server frees the lock once it runs again")


def test_a_job_that_lost_its_lock_fails_and_says_so(other: psycopg.Connection) -> None:
    with started(TINY, "write") as writer:
        writer.wait_for_event("waiting")
        (pid,) = backends(other)
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        ended = writer.end()
    assert ended.code == 1
    assert "the connection that held the writer lock was lost; nothing was written after that" in ended.out
