"""The files of a training set: what they are called, how they are written, and whether they are what was written."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.errors import VerificationError

PARQUET = "training_df.parquet"
CSV = "training_df.csv"
MANIFEST = "manifest.json"
FILES = (CSV, PARQUET, MANIFEST)
"""The manifest last: it says that the others are there."""
ROW_GROUP_ROWS = 1 << 17
"""So many rows are written at once, and are a row group of the Parquet file."""


@dataclass(frozen=True)
class Digest:
    """What a file holds: its length in bytes and its sha256 in hex."""

    bytes: int
    sha256: str


WriteFiles = Callable[[Path], Mapping[str, Digest]]
"""Writes a set's files to a folder and returns what it wrote, by the files' names."""


def write_set(tables: Iterable[pa.Table], manifest: Callable[[], dict[str, object]], folder: Path) -> dict[str, Digest]:
    """Write the set's files to `folder` and return what was written; the manifest names the digests of the others.

    `tables` have one schema, and there is one at least; the same rows give the same bytes, wherever they are cut.
    `manifest` is asked for once they have all come.
    """
    with ExitStack() as opened:
        csv, parquet = (opened.enter_context(_digesting(folder / name)) for name in (CSV, PARQUET))
        _write_rows(row_groups(tables), csv, parquet)
    written = {CSV: csv.digest, PARQUET: parquet.digest}
    about = {**manifest(), "files": {name: asdict(digest) for name, digest in written.items()}}
    text = json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with _digesting(folder / MANIFEST) as file:
        file.write(text.encode())
    return {**written, MANIFEST: file.digest}


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROW_GROUP_ROWS, the last one shorter; one without rows if there are none."""
    held: list[pa.Table] = []
    rows, cut = 0, False
    for table in tables:
        held.append(table)
        rows += table.num_rows
        while rows >= ROW_GROUP_ROWS:
            whole = pa.concat_tables(held)
            yield whole.slice(0, ROW_GROUP_ROWS).combine_chunks()
            held, rows, cut = [whole.slice(ROW_GROUP_ROWS)], rows - ROW_GROUP_ROWS, True
    if rows or not cut:
        yield pa.concat_tables(held).combine_chunks()


def _write_rows(groups: Iterator[pa.Table], csv: "_DigestingFile", parquet: "_DigestingFile") -> None:
    """Parquet as Arrow writes it. CSV as the exports are written: True and False, instants in ISO 8601, blank for NULL;
    lists and maps as JSON."""
    first = next(groups)
    with (
        pq.ParquetWriter(parquet, first.schema, compression="zstd") as columns,
        pyarrow.csv.CSVWriter(
            csv, _texts(first).schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed")
        ) as lines,
    ):
        for group in chain([first], groups):
            columns.write_table(group, row_group_size=ROW_GROUP_ROWS)
            lines.write_table(_texts(group))


def digest_of(file: Path) -> Digest:
    """What the file holds now."""
    with file.open("rb") as opened:
        return Digest(file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())


def verify(written: Mapping[str, Digest], read_back: Callable[[str], Digest], place: str) -> None:
    """Raises VerificationError unless each file reads back as what was written."""
    for name, expected in written.items():
        found = read_back(name)
        if found != expected:
            raise VerificationError(
                f"{place}/{name} reads back as {found.bytes:,} bytes with sha256 {found.sha256}, written were "
                f"{expected.bytes:,} with {expected.sha256}"
            )


class _DigestingFile(io.RawIOBase):
    """Writes to another file and remembers what."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file, self._bytes, self._sha256 = file, 0, hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Bytes, or a buffer of pyarrow's."""
        self._sha256.update(data)
        self._bytes += memoryview(data).nbytes
        return self._file.write(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self._bytes

    def writable(self) -> bool:
        """It is."""
        return True

    @property
    def digest(self) -> Digest:
        """What was written so far."""
        return Digest(self._bytes, self._sha256.hexdigest())


@contextmanager
def _digesting(path: Path) -> Iterator[_DigestingFile]:
    with path.open("wb") as file:
        yield _DigestingFile(file)


def _texts(table: pa.Table) -> pa.Table:
    return pa.table([_text(table[name]) for name in table.column_names], names=table.column_names)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    if pa.types.is_timestamp(column.type):
        text = pc.strftime(column.cast(pa.timestamp("us", tz="UTC"), safe=False), format="%Y-%m-%dT%H:%M:%SZ")
        return pc.replace_substring(text, ".000000Z", "Z")
    if pa.types.is_nested(column.type):
        return pa.chunked_array(
            [[None if value is None else json.dumps(value) for value in column.to_pylist()]], pa.string()
        )
    return column
