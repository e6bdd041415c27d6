"""The frame around every job: settings, log lines, the ledger's row, SIGTERM, exit code and the one-line summary."""

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import FrameType

import psycopg
import redis

from jobs import ledger, postgres
from jobs.errors import EXIT_DONE, EXIT_FAILED, JobError
from jobs.instants import isoformat, utc_now
from jobs.ledger import Json
from jobs.progress import Progress

TERMINATION_MESSAGE_BYTES = 4096  # Kubernetes keeps no more
SENTENCE_LETTERS = 500


class Interrupted(KeyboardInterrupt):
    """SIGTERM arrived. A KeyboardInterrupt, because psycopg cancels a running query for that one."""


class Run:
    """One execution of a job, as its body sees it."""

    def __init__(self, job: str, connection: psycopg.Connection, run_id: int) -> None:
        self.job = job
        self.connection = connection
        """The ledger's connection (autocommit)."""
        self.run_id = run_id
        self.details: dict[str, Json] = {}
        """What the ledger should remember of this run."""

    def log(self, event: str, **fields: Json) -> None:
        """Write one JSON line to stderr."""
        log_line(self.job, event, run_id=self.run_id, **fields)

    def progress(self, total: int | None, unit: str, description: str) -> Progress:
        """Show how far a long step is."""
        return Progress(total, unit, description, terminal=sys.stderr.isatty(), log=self.log)


Body = Callable[[argparse.Namespace, Run], str]
"""What a job does: takes the parsed flags and the run, returns the one-line summary. Raises JobError."""


def run_job(
    job: str,
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    body: Body,
    *,
    prepare: Callable[[psycopg.Connection], object] | None = None,
) -> int:
    """Run `body` as one run of `job` and return the exit code.

    `prepare` is called with the ledger's connection before the ledger is first written.
    """
    arguments = parser.parse_args(argv)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        exit_code, summary = _attempt(job, arguments, body, prepare)
    finally:
        signal.signal(signal.SIGTERM, previous)
    line = f"{job}: {summary}"
    print(line, flush=True)
    _leave_termination_message(job, line)
    return exit_code


def log_line(job: str, event: str, **fields: Json) -> None:
    """Write one JSON line to stderr: time, job, event, then the event's fields."""
    record = {"time": isoformat(utc_now()), "job": job, "event": event, **fields}
    print(json.dumps(record, default=str), file=sys.stderr, flush=True)


def _attempt(
    job: str,
    arguments: argparse.Namespace,
    body: Body,
    prepare: Callable[[psycopg.Connection], object] | None,
) -> tuple[int, str]:
    try:
        # Closed, not entered: leaving a connection's own block commits, which one that broke meanwhile cannot.
        with closing(postgres.connect(f"{job} ledger", autocommit=True)) as connection:
            if prepare is not None:
                prepare(connection)
            flags = {name: _plain(value) for name, value in vars(arguments).items()}
            run = Run(job, connection, ledger.start_run(connection, job, flags))
            run.log("started", arguments=flags)
            exit_code, summary = _outcome(job, lambda: body(arguments, run))
            _write_end(run, exit_code, summary)
            run.log("finished", exit_code=exit_code, summary=summary)
            return exit_code, summary
    except (JobError, psycopg.Error, KeyboardInterrupt) as error:
        return _failure(job, error)


def _write_end(run: Run, exit_code: int, summary: str) -> None:
    end = partial(ledger.finish_run, run_id=run.run_id, exit_code=exit_code, summary=summary, details=run.details)
    try:
        end(run.connection)
    except psycopg.Error:
        # Lost meanwhile, or left in the middle of a command by SIGTERM.
        with postgres.connect(f"{run.job} ledger", autocommit=True) as another:
            end(another)


def _outcome(job: str, work: Callable[[], str]) -> tuple[int, str]:
    try:
        return EXIT_DONE, work()
    except (Exception, KeyboardInterrupt) as error:
        return _failure(job, error)


def _failure(job: str, error: BaseException) -> tuple[int, str]:
    match error:
        case JobError():
            code, sentence = error.exit_code, str(error)
        case KeyboardInterrupt():
            code, sentence = EXIT_FAILED, "interrupted before it was done; run it again"
        case psycopg.Error():
            code, sentence = EXIT_FAILED, f"Postgres said: {_first_line(error)}"
        case redis.RedisError():
            code, sentence = EXIT_FAILED, f"Redis said: {_first_line(error)}"
        case _:
            # A defect, not bad input: the log gets what is needed to mend it, the summary stays one line.
            log_line(job, "crashed", traceback=traceback.format_exception(error))
            code, sentence = EXIT_FAILED, f"internal error: {type(error).__name__}: {_first_line(error)}"
    log_line(job, "failed", exit_code=code, error=sentence)
    return code, f"failed (exit {code}): {sentence}"


def _first_line(error: BaseException) -> str:
    # Redis repeats the command with its binary keys; a log, a ledger and a terminal want text, and not a page of it.
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:SENTENCE_LETTERS]


def _plain(value: object) -> Json:
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second signal must not cut the cleaning up short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted


def _leave_termination_message(job: str, line: str) -> None:
    path = os.environ.get("FEATURE_PLATFORM_TERMINATION_LOG")
    if not path:
        return
    try:
        Path(path).write_text(line.encode()[:TERMINATION_MESSAGE_BYTES].decode(errors="ignore"))
    except OSError as error:  # what the run did is done; the message is told elsewhere too
        log_line(job, "no termination message", error=str(error))
