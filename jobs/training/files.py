"""A training set's folder: written beside its place, then put there in one step."""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jobs.errors import JobError, UsageError

PARQUET = "training_df.parquet"
CSV = "training_df.csv"
MANIFEST = "manifest.json"
FILES = frozenset({PARQUET, CSV, MANIFEST})

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def check_output(output: Path) -> Path:
    """The folder's absolute path. Raises UsageError when a training set cannot be put there, or would replace more."""
    try:
        place = output.resolve()
        _check_place(place, output)
        existing = next(folder for folder in place.parents if folder.exists())
        with tempfile.TemporaryDirectory(dir=existing, prefix=_prefix(place)):
            pass
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error.strerror}") from error
    return place


def _check_place(place: Path, output: Path) -> None:
    if place.exists() and not place.is_dir():
        raise UsageError(f"--output {output} is a file; name a folder")
    if os.path.ismount(place):
        raise UsageError(f"--output {output} is a mount point, which cannot be replaced; name a folder inside it")
    others = sorted(entry.name for entry in place.iterdir() if entry.name not in FILES) if place.exists() else []
    if others:
        raise UsageError(
            f"--output {output} holds {others[0]}, which is no part of a training set; "
            "name a new folder or one of a former set"
        )


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A new folder beside `place` to write to; it takes the place when the block ends well, else it is removed.

    Raises JobError when the disk is full or fails; what was in the place before still is.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _recover(place)
    folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=_prefix(place)))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o755)
        yield folder
        _sync(folder)
        _replace(folder, place)
    except OSError as error:
        raise JobError(f"the training set could not be written to {place}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def write_parquet(table: pa.Table, folder: Path) -> None:
    """The same table gives the same bytes."""
    pq.write_table(table, folder / PARQUET, compression="zstd", row_group_size=1 << 20)


def write_csv(table: pa.Table, folder: Path) -> None:
    """As the exports are written: True and False, instants in ISO 8601, blank for NULL; lists and maps as JSON."""
    columns = [_text(table[name]) for name in table.column_names]
    plain = pa.table(columns, names=table.column_names)
    pyarrow.csv.write_csv(plain, folder / CSV, pyarrow.csv.WriteOptions(quoting_style="needed"))


def write_manifest(manifest: dict[str, object], folder: Path) -> None:
    """The manifest with the sha256 of the files that are there already."""
    files = {name: {"sha256": _sha256(folder / name)} for name in (CSV, PARQUET)}
    text = json.dumps({**manifest, "files": files}, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


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


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _prefix(place: Path) -> str:
    return f".{place.name}.partial-"


def _former(place: Path) -> Path:
    return place.with_name(f".{place.name}.former")


def _replace(folder: Path, place: Path) -> None:
    if not place.exists():
        folder.rename(place)
    elif not _exchange(folder, place):
        _replace_in_two_steps(folder, place)
    _sync_parent(place)


def _replace_in_two_steps(folder: Path, place: Path) -> None:
    # Where the file system cannot exchange; killed between the steps, the next run puts the former set back.
    place.rename(_former(place))
    folder.rename(place)
    shutil.rmtree(_former(place))


def _sync_parent(place: Path) -> None:
    descriptor = os.open(place.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step (Linux' renameat2); False where that is not to be had."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _recover(place: Path) -> None:
    """Put away what a killed run left: the former set back in its place, folders nobody writes to any more removed."""
    former = _former(place)
    if former.exists() and not place.exists():
        former.rename(place)
    shutil.rmtree(former, ignore_errors=True)
    for leftover in place.parent.glob(f"{_prefix(place)}*"):
        try:
            lock = os.open(leftover, os.O_RDONLY)
        except FileNotFoundError:  # another run's, which is done with it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
