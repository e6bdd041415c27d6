"""`python -m jobs.ingest`: take one folder of monthly exports into the offline store, whole or not at all."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from jobs import postgres
from jobs.errors import JobError, UsageError
from jobs.exports import reader
from jobs.exports.contract import Contract, load_contracts
from jobs.exports.loader import Loaded, SnapshotLoader
from jobs.exports.reader import Export
from jobs.exports.violations import Violations
from jobs.flags import add_lock_wait, job_parser
from jobs.instants import isoformat, parse_instant, utc_now
from jobs.lock import WriterLock, writer_lock
from jobs.runner import Run, run_job
from jobs.settings import load_repository

AS_OF_FILE = "AS_OF"


@dataclass(frozen=True)
class Delivery:
    """A folder of exports: what it describes, since when the platform may be said to know it, and its files' sha256."""

    as_of: datetime
    delivered_at: datetime
    files: Mapping[str, Path]
    sha256: Mapping[str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job with the flags `argv` (default: the command line's) and return its exit code."""
    return run_job("ingest", _parser(), argv, ingest)


def ingest(args: argparse.Namespace, run: Run) -> str:
    """Load the folder of the flags and return the one-line summary. Raises JobError; then nothing was changed."""
    contracts = load_contracts(load_repository())
    delivery = _delivery(args, contracts)
    run.details |= {"as_of": isoformat(delivery.as_of), "delivered_at": isoformat(delivery.delivered_at)}
    try:
        earlier = _run_that_loaded(delivery, contracts, run)
        if earlier is not None:
            return f"nothing new: run {earlier} loaded the same files for {isoformat(delivery.as_of)}"
        exports = _checked_exports(delivery, contracts)
        run.log("checked", files=len(exports), rows=sum(export.table.num_rows for export in exports))
        with writer_lock(args.lock_wait) as lock:
            loaded = _load(delivery, exports, run, lock)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        problem = str(error).splitlines()[0]
        raise JobError(
            f"the database lacks what the contracts name ({problem}); run `python -m jobs.apply` first"
        ) from error
    run.details["files"] = _files_for_ledger(delivery, {e.contract.export: e.table.num_rows for e in exports})
    run.details["tables"] = {table: vars(appended) for table, appended in loaded.items()}
    return _summary(delivery, exports, loaded)


def _delivery(args: argparse.Namespace, contracts: Sequence[Contract]) -> Delivery:
    now = utc_now()
    as_of = parse_instant(args.as_of)
    delivered_at = now if args.delivered_at is None else parse_instant(args.delivered_at)
    if as_of > now:
        raise UsageError(f"--as-of {isoformat(as_of)} is in the future")
    if delivered_at > now:
        raise UsageError(f"--delivered-at {isoformat(delivered_at)} is in the future")
    if delivered_at < as_of:
        raise UsageError(f"--delivered-at {isoformat(delivered_at)} is before --as-of {isoformat(as_of)}")
    files = reader.find_files(args.folder, contracts)
    _check_stated(args.folder, as_of)
    return Delivery(as_of, delivered_at, files, {name: reader.sha256_of(file) for name, file in files.items()})


def _check_stated(folder: Path, as_of: datetime) -> None:
    """A folder that states what it describes must not be loaded as another month."""
    file = folder / AS_OF_FILE
    if not file.is_file():
        return
    try:
        stated = parse_instant(file.read_text(errors="replace").strip())
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    if stated != as_of:
        raise UsageError(f"{file} says {isoformat(stated)}, but --as-of is {isoformat(as_of)}")


def _run_that_loaded(delivery: Delivery, contracts: Sequence[Contract], run: Run) -> int | None:
    """The run that loaded just these files as the newest ones of this as_of, if the tables still show their rows."""
    row = run.connection.execute(
        """SELECT run_id, details -> 'files' FROM ledger.runs
           WHERE job = 'ingest' AND state = 'succeeded' AND details ? 'files' AND details ->> 'as_of' = %s
           ORDER BY run_id DESC LIMIT 1""",
        (isoformat(delivery.as_of),),
    ).fetchone()
    if row is None or {name: file["sha256"] for name, file in row[1].items()} != dict(delivery.sha256):
        return None
    for contract in contracts:
        shown = SnapshotLoader(run.connection, contract, delivery.as_of).count()
        if shown != row[1][contract.export]["rows"]:
            return None
    return int(row[0])


def _checked_exports(delivery: Delivery, contracts: Sequence[Contract]) -> list[Export]:
    violations = Violations()
    exports = [
        reader.read_export(delivery.files[contract.export], delivery.sha256[contract.export], contract, violations)
        for contract in contracts
    ]
    read = [export for export in exports if export is not None]
    reader.check_same_keys(read, violations)
    violations.raise_any()
    return read


def _load(delivery: Delivery, exports: Sequence[Export], run: Run, lock: WriterLock) -> dict[str, Loaded]:
    """Everything in one transaction: whatever ends it early leaves the tables as they were."""
    rows = sum(export.table.num_rows for export in exports)
    with postgres.connect("ingest") as connection, run.progress(rows, "rows", "loading") as progress:
        loaders = {e.contract.table: SnapshotLoader(connection, e.contract, delivery.as_of) for e in exports}
        _check_row_counts(exports, loaders)
        loaded = {}
        for export in exports:
            loader = loaders[export.contract.table]
            lock.check()
            loader.stage(export, progress.advance)
            loaded[export.contract.table] = _append(loader, delivery)
            loader.verify(export.table.num_rows)
        lock.check()
    return loaded


def _append(loader: SnapshotLoader, delivery: Delivery) -> Loaded:
    newest = loader.newest_created_at()
    if newest is None or newest < delivery.delivered_at:
        return loader.append(delivery.delivered_at)
    if loader.differs():
        raise UsageError(
            f"--delivered-at {isoformat(delivery.delivered_at)} is not after {isoformat(newest)}, when "
            f"{isoformat(delivery.as_of)} was delivered last; a correction is delivered later than what it corrects"
        )
    return Loaded(rows=0, tombstones=0)


def _check_row_counts(exports: Sequence[Export], loaders: Mapping[str, SnapshotLoader]) -> None:
    violations = Violations()
    for export in exports:
        band, rows = export.contract.rows, export.table.num_rows
        before = loaders[export.contract.table].count_before()
        if rows < band.min:
            violations.add(export.lines.file, f"has {rows:,} rows, fewer than {band.min:,}")
        elif before and not band.min_ratio <= rows / before <= band.max_ratio:
            allowed = f"{band.min_ratio:g} to {band.max_ratio:g} times the {before:,} of the month before"
            violations.add(export.lines.file, f"has {rows:,} rows, which is not {allowed}")
    violations.raise_any()


def _files_for_ledger(delivery: Delivery, rows: Mapping[str, int]) -> dict[str, dict[str, str | int]]:
    return {
        name: {"file": file.name, "sha256": delivery.sha256[name], "rows": rows[name]}
        for name, file in delivery.files.items()
    }


def _summary(delivery: Delivery, exports: Sequence[Export], loaded: Mapping[str, Loaded]) -> str:
    rows = sum(appended.rows for appended in loaded.values())
    tombstones = sum(appended.tombstones for appended in loaded.values())
    read = ", ".join(f"{export.table.num_rows:,} {export.contract.export}" for export in exports)
    if not rows and not tombstones:
        return f"nothing new: the tables show {isoformat(delivery.as_of)} like these files ({read})"
    return (
        f"{isoformat(delivery.as_of)} loaded ({read}): {rows:,} rows and {tombstones:,} tombstones appended, "
        f"known since {isoformat(delivery.delivered_at)}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = job_parser(
        "ingest",
        "Take a folder of exports (one CSV or Parquet file per data contract) into the offline store: all of it or\n"
        "nothing. Files that were loaded before change nothing; changed ones are a correction.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the export files")
    parser.add_argument("--as-of", required=True, metavar="T", help="the instant that the exports describe (UTC)")
    parser.add_argument("--delivered-at", metavar="T", help="when they were delivered (default: now)")
    add_lock_wait(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
