"""A training set's folder on a file system of this machine: written beside its place, then put there in one step."""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import JobError, UsageError
from jobs.training.files import FILES, WriteFiles, digest_of, verify

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


class FolderOutput:
    """A folder on a file system of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def check(self) -> None:
        """Raises UsageError when a training set cannot be put there, or would replace more than one."""
        try:
            place = self._folder.resolve()
            _check_place(place, self._folder)
            existing = next(folder for folder in place.parents if folder.exists())
            with tempfile.TemporaryDirectory(dir=existing, prefix=_prefix(place)):
                pass
        except OSError as error:
            raise UsageError(f"--output {self} cannot be written: {error.strerror}") from error

    def put(self, write: WriteFiles) -> None:
        """Let the files be written to a new folder beside this one, which they replace in one step once they are whole.

        Raises JobError when the disk is full or fails; what was there before still is.
        """
        place = self._folder.resolve()
        try:
            with _folder_beside(place) as folder:
                written = write(folder)
                _sync(folder)
                verify(written, lambda name: digest_of(folder / name), str(place))
                _replace(folder, place)
        except OSError as error:
            raise JobError(f"the training set could not be written to {place}: {error}") from error


@contextmanager
def _folder_beside(place: Path) -> Iterator[Path]:
    """A new folder, which is locked as long as it is ours, and removed if it is still there in the end."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _recover(place)
    folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=_prefix(place)))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


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
