"""The files of a training set: what they are called, how they are written, and whether they are what was written."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Digest:
    """What a file holds: its length in bytes and its sha256 in hex."""

    bytes: int
    sha256: str


WriteFiles = Callable[[Path], Mapping[str, Digest]]
"""Writes a set's files to a folder and returns what it wrote, by the files' names."""


def write_set(table: pa.Table, manifest: dict[str, object], folder: Path) -> dict[str, Digest]:
    """Write the set's files to `folder`; the manifest names the digests of the others. Returns what was written."""
    written = {CSV: write_csv(table, folder), PARQUET: write_parquet(table, folder)}
    about = {**manifest, "files": {name: asdict(digest) for name, digest in written.items()}}
    text = json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with _digesting(folder / MANIFEST) as file:
        file.write(text.encode())
    return {**written, MANIFEST: file.digest}


def write_parquet(table: pa.Table, folder: Path) -> Digest:
    """The same table gives the same bytes."""
    with _digesting(folder / PARQUET) as file:
        pq.write_table(table, file, compression="zstd", row_group_size=1 << 20)
    return file.digest


def write_csv(table: pa.Table, folder: Path) -> Digest:
    """As the exports are written: True and False, instants in ISO 8601, blank for NULL; lists and maps as JSON."""
    columns = [_text(table[name]) for name in table.column_names]
    plain = pa.table(columns, names=table.column_names)
    with _digesting(folder / CSV) as file:
        pyarrow.csv.write_csv(plain, file, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return file.digest


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
