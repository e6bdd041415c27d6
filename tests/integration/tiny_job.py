"""`python -m tests.integration.tiny_job HOW`: the smallest job, which ends in the way it is told."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import psycopg
import redis

from jobs.errors import DataError, JobError, UsageError
from jobs.flags import add_lock_wait
from jobs.lock import writer_lock
from jobs.runner import Run, run_job


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job and return its exit code."""
    parser = argparse.ArgumentParser(prog="tiny")
    parser.add_argument("how", choices=sorted(WAYS))
    add_lock_wait(parser)
    return run_job("tiny", parser, argv, lambda arguments, run: WAYS[arguments.how](arguments, run))


def _done(_arguments: argparse.Namespace, run: Run) -> str:
    run.details["rows"] = 3
    run.log("halfway", rows=3)
    return "done: 3 rows"


def _failed(*_: object) -> str:
    raise JobError("the moon is full")


def _usage(*_: object) -> str:
    raise UsageError("--moon is not a phase")


def _data(*_: object) -> str:
    raise DataError("moon.csv, line 3: phase is 9")


def _crash(*_: object) -> str:
    raise ZeroDivisionError("first line\nsecond line")


def _statement(_arguments: argparse.Namespace, run: Run) -> str:
    run.connection.execute("SELECT 1 / 0")
    return "not reached"


def _redis(*_: object) -> str:
    # An error of Redis repeats the command, with keys that are no text.
    raise redis.ResponseError("WRONGTYPE of command # 1 (HSET \x02\x00 ...)\nmore")


def _ledger_lost(_arguments: argparse.Namespace, run: Run) -> str:
    with psycopg.connect("", autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (run.connection.info.backend_pid,))
    return "done all the same"


def _ledger_gone(arguments: argparse.Namespace, run: Run) -> str:
    with psycopg.connect("", autocommit=True, dbname="postgres") as admin:
        name = run.connection.info.dbname
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (run.connection.info.backend_pid,))
    return "done, but who will know"


def _pause(_arguments: argparse.Namespace, run: Run) -> str:
    run.log("waiting", pid=os.getpid())
    signal.pause()
    return "not reached"


def _query(_arguments: argparse.Namespace, run: Run) -> str:
    run.log("waiting")
    run.connection.execute("SELECT pg_sleep(600)")
    return "not reached"


def _lock(arguments: argparse.Namespace, run: Run) -> str:
    run.log("waiting")
    with writer_lock(arguments.lock_wait) as lock:
        run.log("held")
        lock.check()
    return "done"


def _hold(arguments: argparse.Namespace, run: Run) -> str:
    with writer_lock(arguments.lock_wait):
        run.log("waiting")
        signal.pause()
    return "not reached"


def _write(arguments: argparse.Namespace, run: Run) -> str:
    with writer_lock(arguments.lock_wait) as lock:
        run.log("waiting")
        while True:
            lock.check()
            time.sleep(0.01)


Way = Callable[[argparse.Namespace, Run], str]
WAYS: dict[str, Way] = {
    "done": _done, "failed": _failed, "usage": _usage, "data": _data, "crash": _crash, "statement": _statement,
    "redis": _redis, "ledger_lost": _ledger_lost, "ledger_gone": _ledger_gone, "pause": _pause, "query": _query,
    "lock": _lock, "hold": _hold, "write": _write,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
