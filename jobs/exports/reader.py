"""Reads a folder's exports (CSV or Parquet) as Arrow tables with the contract's types; says what does not fit."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from jobs.errors import DataError, UsageError
from jobs.exports import column_checks
from jobs.exports.contract import Contract
from jobs.exports.violations import Violations, shown

ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True)
class Lines:
    """Where the rows of a table are in its file."""

    file: str
    unit: str
    first: int

    def place(self, row: int, column: str | None = None) -> str:
        """Like `users.csv line 17, column user_gender`; `row` counts from 0."""
        where = f"{self.file} {self.unit} {row + self.first}"
        return where if column is None else f"{where}, column {column}"


@dataclass(frozen=True)
class Export:
    """A file that was read: exactly the contract's columns, in the contract's order and with its types."""

    contract: Contract
    lines: Lines
    table: pa.Table


def find_files(folder: Path, contracts: Iterable[Contract]) -> dict[str, Path]:
    """The folder's file of each contract, by export.

    Raises UsageError when there is no such folder, DataError when a file is missing, there twice, or unknown.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    there = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in ENDINGS}
    violations, files = Violations(), {}
    for contract in contracts:
        found = [there.pop(contract.export + ending) for ending in ENDINGS if contract.export + ending in there]
        if not found:
            violations.add(str(folder), f"{contract.export}.csv (or .parquet) is missing")
        elif len(found) > 1:
            violations.add(str(folder), f"{contract.export} is there twice, as .csv and as .parquet")
        else:
            files[contract.export] = found[0]
    for name in there:
        violations.add(str(folder), f"{name} belongs to no contract")
    violations.raise_any()
    return files


def sha256_of(file: Path) -> str:
    """The file's sha256 in hex. Raises DataError when it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def read_export(file: Path, sha256: str, contract: Contract, violations: Violations) -> Export | None:
    """The file's rows, or None when violations were found that leave nothing to check further.

    Raises DataError when the file no longer has the `sha256` of a moment ago.
    """
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{file} changed while it was read; load it once it is complete")
    is_csv = file.suffix == ".csv"
    lines = Lines(file.name, "line", 2) if is_csv else Lines(file.name, "row", 1)
    raw = _read_csv(content, lines, violations) if is_csv else _read_parquet(content, lines, violations)
    if raw is None or not _has_columns(raw, lines, contract, violations):
        return None
    columns = {
        name: column_checks.checked(raw.column(name), name, rule, lines.place, violations)
        for name, rule in contract.columns.items()
    }
    if any(column is None for column in columns.values()):
        return None
    export = Export(contract, lines, pa.table(columns))
    return export if column_checks.check_keys(export.table, contract.key, lines.place, violations) else None


def _read_csv(content: bytes, lines: Lines, violations: Violations) -> pa.Table | None:
    """Every value as text, a blank as NULL."""
    if (header := _header(content, lines, violations)) is None:
        return None
    invalid: list[csv.InvalidRow] = []

    def skip(row: csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            io.BytesIO(content.rstrip(b"\r\n") + b"\n"),
            # One thread: only then a row that does not fit knows its line.
            csv.ReadOptions(use_threads=False),
            csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip),
            csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        violations.add(lines.file, f"is not CSV: {' '.join(str(error).split())}")
        return None
    if invalid:
        row = invalid[0]
        problem = f"has {row.actual_columns} values where the header has {row.expected_columns}: {shown(row.text)}"
        violations.add(f"{lines.file} line {row.number}", problem, len(invalid))
        return None
    return table


def _header(content: bytes, lines: Lines, violations: Violations) -> list[str] | None:
    if not content.strip():
        violations.add(lines.file, "is empty")
        return None
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        violations.add(f"{lines.file} line {line}", f"is not UTF-8: {shown(error.object[error.start : error.end])}")
        return None
    first = io.BytesIO(content.lstrip().split(b"\n", 1)[0] + b"\n")
    return list(csv.open_csv(first).schema.names)


def _read_parquet(content: bytes, lines: Lines, violations: Violations) -> pa.Table | None:
    try:
        return parquet.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        violations.add(lines.file, f"is not Parquet: {' '.join(str(error).split())}")
        return None


def _has_columns(table: pa.Table, lines: Lines, contract: Contract, violations: Violations) -> bool:
    header, names, before = f"{lines.file} line 1", table.column_names, len(violations)
    if lines.unit == "row":
        header = lines.file
    for name in contract.columns:
        if name not in names:
            violations.add(header, f"column {name} is missing")
    for name in sorted(set(names)):
        if name not in contract.columns:
            violations.add(header, f"column {shown(name)} is not in the contract")
        elif names.count(name) > 1:
            violations.add(header, f"column {name} is there {names.count(name)} times")
    return len(violations) == before


def check_same_keys(exports: Iterable[Export], violations: Violations) -> None:
    """That exports whose contracts say so hold the same keys."""
    by_name = {export.contract.export: export for export in exports}
    for export in by_name.values():
        other = by_name.get(export.contract.same_keys_as or "")
        if other is not None:
            _check_keys_within(export, other, violations)
            _check_keys_within(other, export, violations)


def _check_keys_within(export: Export, other: Export, violations: Violations) -> None:
    key = export.contract.key
    known = column_checks.joined_keys(other.table, key)
    missing = pc.invert(pc.is_in(column_checks.joined_keys(export.table, key), known)).to_numpy(zero_copy_only=False)
    if missing.any():
        row = int(missing.argmax())
        value = ", ".join(shown(export.table.column(name)[row].as_py()) for name in key)
        where = export.lines.place(row, ", ".join(key))
        violations.add(where, f"{value} has no row in {other.lines.file}", int(missing.sum()))
