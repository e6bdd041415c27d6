"""The frame around every job: settings, log lines, the ledger's row, SIGTERM, exit code and the one-line summary."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import psycopg

from jobs import ledger, postgres
from jobs.ending import End, conclude, end_of, failure, interruptible, log_line
from jobs.errors import JobError
from jobs.ledger import Json
from jobs.progress import Progress


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
Around = Callable[[str, Callable[[], End]], End]
"""What is done around a run: takes the job's name and the run, and returns how that ended."""


def run_job(
    job: str,
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    body: Body,
    *,
    prepare: Callable[[psycopg.Connection], object] | None = None,
    around: Around | None = None,
) -> int:
    """Run `body` as one run of `job` and return the exit code.

    `prepare` is called with the ledger's connection before the ledger is first written, `around` with the job's name
    and the whole run, also one that finds no ledger.
    """
    arguments = parser.parse_args(argv)
    gc.freeze()  # what the imports left stays to the end: no collection needs to look at it
    run = partial(run_once, job, arguments, body, prepare)
    with interruptible():
        try:
            end = run() if around is None else around(job, run)
        except KeyboardInterrupt as error:
            end = failure(job, error)
    return conclude(job, end)


def run_reader(
    job: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None, body: Callable[[argparse.Namespace], str]
) -> int:
    """Run `body`, which changes nothing and of which the ledger therefore holds nothing, and return the exit code."""
    arguments = parser.parse_args(argv)

    def work() -> str:
        postgres.export_credentials()
        return body(arguments)

    with interruptible():
        end = end_of(job, work)
    return conclude(job, end)


def run_once(
    job: str,
    arguments: argparse.Namespace,
    body: Body,
    prepare: Callable[[psycopg.Connection], object] | None = None,
) -> End:
    """Run `body` with a row in the ledger, and return how it ended, whatever it died of."""
    try:
        postgres.export_credentials()
        # Closed, not entered: leaving a connection's own block commits, which one that broke meanwhile cannot.
        with closing(postgres.connect(f"{job} ledger", autocommit=True)) as connection:
            if prepare is not None:
                prepare(connection)
            flags = {name: _plain(value) for name, value in vars(arguments).items()}
            run = Run(job, connection, ledger.start_run(connection, job, flags))
            run.log("started", arguments=flags)
            end = end_of(job, lambda: body(arguments, run))
            _write_end(run, end)
            run.log("finished", exit_code=end.exit_code, summary=end.summary)
            return end
    except (JobError, psycopg.Error, KeyboardInterrupt) as error:
        return failure(job, error)


def _write_end(run: Run, end: End) -> None:
    write = partial(
        ledger.finish_run, run_id=run.run_id, exit_code=end.exit_code, summary=end.summary, details=run.details
    )
    try:
        write(run.connection)
    except psycopg.Error:
        # Lost meanwhile, or left in the middle of a command by SIGTERM.
        with postgres.connect(f"{run.job} ledger", autocommit=True) as another:
            write(another)


def _plain(value: object) -> Json:
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)
