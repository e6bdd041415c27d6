"""Takes a delivery into the offline store: checked against the contracts, then whole or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs import postgres
from jobs.errors import UsageError
from jobs.exports import reader
from jobs.exports.contract import Contract
from jobs.exports.delivery import Delivery
from jobs.exports.loader import Loaded, SnapshotLoader
from jobs.exports.reader import Export
from jobs.exports.violations import Violations
from jobs.instants import isoformat, parse_instant, utc_now
from jobs.lock import WriterLock, writer_lock
from jobs.runner import Run


@dataclass(frozen=True)
class Taken:
    """What became of a delivery."""

    sentence: str
    is_new: bool
    """Whether anything was appended."""


@dataclass(frozen=True)
class _Files:
    """A delivery's file of each contract, by export, and their sha256."""

    paths: Mapping[str, Path]
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class _EarlierLoad:
    run_id: int
    delivered_at: datetime
    files: Mapping[str, Mapping[str, Any]]

    def is_of(self, files: _Files) -> bool:
        return {name: file["sha256"] for name, file in self.files.items()} == dict(files.sha256)


class Intake:
    """Takes deliveries as one run."""

    def __init__(self, contracts: Sequence[Contract], run: Run, lock_wait_seconds: float) -> None:
        self._contracts, self._run, self._lock_wait_seconds = contracts, run, lock_wait_seconds

    def take(self, delivery: Delivery) -> Taken:
        """Load what is new in the delivery. Raises JobError; then nothing was changed.

        Files that were loaded before are nothing new, unless the delivery states a later delivery than the one that
        has replaced them: then they are a correction like any other.
        """
        paths = reader.find_files(delivery.folder, self._contracts)
        files = _Files(paths, {name: reader.sha256_of(path) for name, path in paths.items()})
        delivered_at = delivery.delivered_at or utc_now()
        self._run.details |= {"as_of": isoformat(delivery.as_of), "delivered_at": isoformat(delivered_at)}
        known = self._known(delivery, files)
        if known is not None:
            return Taken(f"nothing new: {known}", is_new=False)
        exports = self._checked_exports(files)
        self._run.log("checked", files=len(exports), rows=sum(export.table.num_rows for export in exports))
        with writer_lock(self._lock_wait_seconds) as lock:
            loaded = self._load(exports, delivery, delivered_at, lock)
        self._run.details["files"] = {
            export.contract.export: {
                "file": paths[export.contract.export].name,
                "sha256": files.sha256[export.contract.export],
                "rows": export.table.num_rows,
            }
            for export in exports
        }
        self._run.details["tables"] = {table: vars(appended) for table, appended in loaded.items()}
        return _taken(delivery.as_of, delivered_at, exports, loaded)

    def _known(self, delivery: Delivery, files: _Files) -> str | None:
        """Why there is nothing to load, if the ledger knows these files and the tables hold what it says of them."""
        loads = self._loads(delivery.as_of)
        load = next((load for load in loads if load.is_of(files)), None)
        if load is None:
            return None
        what = f"run {load.run_id} loaded the same files for {isoformat(delivery.as_of)}"
        newest = loads[0]
        if load is newest:
            return what if self._shows(delivery.as_of, load) else None
        if delivery.delivered_at is not None and delivery.delivered_at > newest.delivered_at:
            return None
        corrected = f"{what}, and run {newest.run_id} a correction of them"
        return corrected if self._shows(delivery.as_of, load, known_by=load.delivered_at) else None

    def _loads(self, as_of: datetime) -> list[_EarlierLoad]:
        """The runs that loaded something for `as_of`, newest first."""
        rows = self._run.connection.execute(
            """SELECT run_id, details ->> 'delivered_at', details -> 'files' FROM ledger.runs
               WHERE job = 'ingest' AND state = 'succeeded' AND details ? 'files' AND details ->> 'as_of' = %s
               ORDER BY run_id DESC""",
            (isoformat(as_of),),
        )
        return [_EarlierLoad(run_id, parse_instant(delivered_at), files) for run_id, delivered_at, files in rows]

    def _shows(self, as_of: datetime, load: _EarlierLoad, *, known_by: datetime | None = None) -> bool:
        return all(
            SnapshotLoader(self._run.connection, contract, as_of).count(known_by) == load.files[contract.export]["rows"]
            for contract in self._contracts
        )

    def _checked_exports(self, files: _Files) -> list[Export]:
        violations = Violations()
        exports = [
            reader.read_export(files.paths[contract.export], files.sha256[contract.export], contract, violations)
            for contract in self._contracts
        ]
        read = [export for export in exports if export is not None]
        reader.check_same_keys(read, violations)
        violations.raise_any()
        return read

    def _load(
        self, exports: Sequence[Export], delivery: Delivery, delivered_at: datetime, lock: WriterLock
    ) -> dict[str, Loaded]:
        """Everything in one transaction: whatever ends it early leaves the tables as they were."""
        rows = sum(export.table.num_rows for export in exports)
        with postgres.connect("ingest") as connection, self._run.progress(rows, "rows", "loading") as progress:
            loaders = {e.contract.table: SnapshotLoader(connection, e.contract, delivery.as_of) for e in exports}
            _check_row_counts(exports, loaders)
            loaded = {}
            for export in exports:
                loader = loaders[export.contract.table]
                lock.check()
                loader.stage(export, progress.advance)
                loaded[export.contract.table] = _append(loader, delivery, delivered_at)
                loader.verify(export.table.num_rows)
            lock.check()
        return loaded


def _append(loader: SnapshotLoader, delivery: Delivery, delivered_at: datetime) -> Loaded:
    newest = loader.newest_created_at()
    if newest is None or newest < delivered_at:
        return loader.append(delivered_at)
    if loader.differs():
        raise UsageError(
            f"{delivery.delivered_at_by} {isoformat(delivered_at)} is not after {isoformat(newest)}, when "
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


def _taken(as_of: datetime, delivered_at: datetime, exports: Sequence[Export], loaded: Mapping[str, Loaded]) -> Taken:
    rows = sum(appended.rows for appended in loaded.values())
    tombstones = sum(appended.tombstones for appended in loaded.values())
    read = ", ".join(f"{export.table.num_rows:,} {export.contract.export}" for export in exports)
    if not rows and not tombstones:
        return Taken(f"nothing new: the tables show {isoformat(as_of)} like these files ({read})", is_new=False)
    return Taken(
        f"{isoformat(as_of)} loaded ({read}): {rows:,} rows and {tombstones:,} tombstones appended, "
        f"known since {isoformat(delivered_at)}",
        is_new=True,
    )
