"""`python -m jobs.ingest`: take monthly exports into the offline store, each folder whole or not at all."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psycopg

from jobs.ending import End, conclude, interruptible, tell
from jobs.errors import EXIT_DONE, EXIT_FAILED, JobError, UsageError
from jobs.exports.contract import load_contracts
from jobs.exports.delivery import find_deliveries, find_delivery
from jobs.exports.intake import Intake, Taken
from jobs.flags import add_lock_wait, job_parser
from jobs.runner import Run, run_job, run_once
from jobs.settings import load_repository

JOB = "ingest"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with the flags `argv` (default: the command line's) and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.all is None or arguments.folder or arguments.as_of or arguments.delivered_at:
        return run_job(JOB, parser, argv, lambda arguments, run: _ingest(arguments, run).sentence)
    with interruptible():
        end = _ingest_all(arguments)
    return conclude(JOB, end)


def _ingest(arguments: argparse.Namespace, run: Run) -> Taken:
    """Load the folder of the flags. Raises JobError; then nothing was changed."""
    if arguments.all is not None:
        raise UsageError("--all takes each folder by what it states itself: leave out DIR, --as-of and --delivered-at")
    if arguments.folder is None:
        raise UsageError("name the folder of the export files, or with --all the folder that holds such folders")
    contracts = load_contracts(load_repository())
    delivery = find_delivery(arguments.folder, arguments.as_of, arguments.delivered_at)
    try:
        return Intake(contracts, run, arguments.lock_wait).take(delivery)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        problem = str(error).splitlines()[0]
        raise JobError(
            f"the database lacks what the contracts name ({problem}); run `python -m jobs.apply` first"
        ) from error


def _ingest_all(arguments: argparse.Namespace) -> End:
    """A run for each folder, in order of delivery, up to the first that fails; the end of the whole."""
    try:
        folders = [delivery.folder for delivery in find_deliveries(arguments.all)]
    except JobError as error:
        return run_once(JOB, arguments, partial(_refuse, error))
    series = _Series(arguments, len(folders))
    try:
        for folder in folders:
            end = series.take(folder)
            tell(JOB, end)
            if end.exit_code != EXIT_DONE:
                return End(end.exit_code, f"{folder}, after {series.so_far()}: {end.sentence}")
    except KeyboardInterrupt:  # between two runs
        return End(EXIT_FAILED, f"interrupted after {series.so_far()}; run it again")
    return End(EXIT_DONE, f"{arguments.all}: {series.so_far()}")


def _refuse(error: JobError, _arguments: argparse.Namespace, _run: Run) -> str:
    raise error


class _Series:
    """Counts what becomes of the folders of one `--all`."""

    def __init__(self, arguments: argparse.Namespace, folders: int) -> None:
        self._arguments, self._folders = arguments, folders
        self._loaded = self._nothing_new = 0

    def take(self, folder: Path) -> End:
        """Ingest the folder as a run of its own."""
        return run_once(JOB, argparse.Namespace(**{**vars(self._arguments), "all": None, "folder": folder}), self._body)

    def so_far(self) -> str:
        """Like `1 loaded and 5 with nothing new of 6 folders`."""
        return f"{self._loaded} loaded and {self._nothing_new} with nothing new of {self._folders} folders"

    def _body(self, arguments: argparse.Namespace, run: Run) -> str:
        taken = _ingest(arguments, run)
        self._loaded += taken.is_new
        self._nothing_new += not taken.is_new
        return taken.sentence


def _parser() -> argparse.ArgumentParser:
    parser = job_parser(
        JOB,
        "Take a folder of exports (one CSV or Parquet file per data contract) into the offline store: all of it or\n"
        "nothing. Files that were loaded before change nothing; changed ones are a correction.\n\n"
        "With --all every folder in ROOT, each as a run of its own, in order of delivery, up to the first that fails:\n"
        "a folder that breaks its contract fails each time, and holds up those delivered after it, until it is\n"
        "corrected. Each time all files are read to find what is new. Write AS_OF last, when all else is there.",
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="the folder of the export files")
    parser.add_argument("--all", type=Path, metavar="ROOT", help="a folder of such folders, each with a file AS_OF")
    parser.add_argument(
        "--as-of", metavar="T", help="the instant that the exports describe, UTC (default: what DIR's file AS_OF says)"
    )
    parser.add_argument(
        "--delivered-at",
        metavar="T",
        help="when they were delivered (default: now; without --as-of what DIR's file DELIVERED_AT says, if it is "
        "there). Files that a correction has replaced are taken again only when they were delivered after it",
    )
    add_lock_wait(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
