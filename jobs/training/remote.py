"""A training set at a URL: whole in a folder inside the place first, then moved, the manifest last.

Of all that fsspec can write to only some can move a folder in one step, and object stores can move nothing at all: they
copy, one file after the other. So the manifest says whether a set is there. Before the first file is moved the former
manifest is removed, after the last one the new one is put there, and it names the digest of each file: whoever reads a
manifest and files that fit it has a whole set. Nothing of the former set is touched before the new one was uploaded and
read back; between the two there is no set for as long as it takes to move three files.
"""

import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from ftplib import error_perm
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import JobError, UsageError
from jobs.training.files import FILES, MANIFEST, Digest, WriteFiles, digest_of, verify

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# One upload each, as far as it goes: not every FTP server takes a file in pieces.
PIECE_BYTES = 64 << 20
# A staging folder that is older than this was left behind by a run that was killed.
LEFTOVER_SECONDS = 86_400
# Readers of whole folders (Arrow, Spark, Hive) pass over names with an underscore in front.
_STAGING = re.compile(r"_partial-(?P<seconds>\d+)-[0-9a-f]+")
# What no retry mends; every package has errors of its own besides.
_REFUSALS = (PermissionError, FileNotFoundError, NotADirectoryError, NotImplementedError, ValueError, error_perm)


class RemoteOutput:
    """A folder at a URL of fsspec's, whose credentials the environment holds as fsspec and its packages read them."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def check(self) -> None:
        """Raises UsageError when a training set cannot be put there, or would replace more than one.

        A small file is written, read back and removed, so that a run does not learn at its end what is wrong.
        """
        try:
            with self._place() as place:
                self._check_names(place)
                place.probe()
        except JobError:
            raise
        except Exception as error:  # every package has errors of its own
            kind = UsageError if isinstance(error, _REFUSALS) else JobError
            raise kind(f"--output {self} cannot be written: {_reason(error)}") from error

    def put(self, write: WriteFiles) -> None:
        """Let the files be written here, then upload, verify, move and verify them.

        Raises JobError, which says what is there then, and whatever JobError `write` raises, as it is.
        """
        state = "what was there before still is"
        refused: JobError | None = None
        with tempfile.TemporaryDirectory() as folder:
            try:
                try:
                    written = write(Path(folder))
                except JobError as error:
                    refused = error
                    raise
                with self._place() as place:
                    place.upload(Path(folder), written)
                    state = "a set is there only if a manifest is; run it again"
                    place.install(written)
            except Exception as error:  # every package has errors of its own
                if error is refused:
                    raise
                raise JobError(f"the training set could not be put to {self}: {_reason(error)}; {state}") from error

    def _check_names(self, place: "_Place") -> None:
        if place.is_file():
            raise UsageError(f"--output {self} is a file; name a folder")
        others = [name for name in place.names() if name not in FILES and not _STAGING.fullmatch(name)]
        if others:
            raise UsageError(
                f"--output {self} holds {others[0]}, which is no part of a training set; "
                "name a new folder or one of a former set"
            )

    @contextmanager
    def _place(self) -> Iterator["_Place"]:
        place = _Place(*self._open())
        try:
            yield place
        finally:
            # By a connection of its own: the other one may have been left in the middle of a file.
            with suppress(Exception):
                _Place(self._open()[0], place.path, place.staging).clear()

    def _open(self) -> "tuple[AbstractFileSystem, str]":
        from fsspec.core import url_to_fs

        scheme = self._url.partition("://")[0]
        try:
            store, path = url_to_fs(self._url, skip_instance_cache=True)
        except ImportError as error:
            package = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or str(error)
            raise UsageError(f"--output {self} needs the Python package {package}, which is not installed") from error
        if not path.strip("/") or ("/" not in path.strip("/") and not path.startswith("/")):
            raise UsageError(f"--output {self} names no folder; name one inside it, as in {self}/churn")
        if scheme == "memory":
            raise UsageError(f"--output {self} would be gone with this process")
        return store, path.rstrip("/")


class _Place:
    """A folder of a store, as long as one connection to it lasts."""

    def __init__(self, store: "AbstractFileSystem", path: str, staging: str | None = None) -> None:
        self._store, self.path = store, path
        self.staging = staging or f"{path}/_partial-{int(time.time())}-{secrets.token_hex(4)}"

    def is_file(self) -> bool:
        """Whether a file is where the folder should be."""
        return bool(self._store.isfile(self.path))

    def names(self) -> list[str]:
        """The names in the folder, sorted; none if it is not there."""
        self._store.invalidate_cache()
        try:
            found = (entry["name"].rstrip("/") for entry in self._store.ls(self.path, detail=True))
            # Some object stores hold an object for the folder itself.
            return sorted(name.rpartition("/")[2] for name in found if name.strip("/") != self.path.strip("/"))
        except FileNotFoundError:
            return []

    def probe(self) -> None:
        """Upload a small file; `clear` removes it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "probe"
            file.write_bytes(b"can a training set be put here?")
            self.upload(Path(folder), {file.name: digest_of(file)})

    def upload(self, folder: Path, written: Mapping[str, Digest]) -> None:
        """Put the files of the local `folder` into the staging folder, and read them back."""
        if self.path.startswith("/"):  # elsewhere a path starts with a bucket, and folders are but names
            self._store.makedirs(self.staging, exist_ok=True)
        for name in written:
            there = f"{self.staging}/{name}"
            with (folder / name).open("rb") as source, self._store.open(there, "wb", block_size=PIECE_BYTES) as target:
                shutil.copyfileobj(source, target, PIECE_BYTES)
        self._verify(self.staging, written)

    def install(self, written: Mapping[str, Digest]) -> None:
        """Move the uploaded files to their names, the manifest last; what is there then is read back."""
        there = self.names()
        if MANIFEST in there:
            self._store.rm_file(f"{self.path}/{MANIFEST}")
        for name in FILES:
            if name in there and name != MANIFEST:  # not everywhere a file can be moved over another
                self._store.rm_file(f"{self.path}/{name}")
            self._store.mv(f"{self.staging}/{name}", f"{self.path}/{name}")
        try:
            self._verify(self.path, written)
        except Exception:
            self._store.rm_file(f"{self.path}/{MANIFEST}")
            raise

    def clear(self) -> None:
        """Remove the staging folder, and those of runs that were killed long ago."""
        for name in self.names():
            found = _STAGING.fullmatch(name)
            old = found is not None and int(found["seconds"]) < time.time() - LEFTOVER_SECONDS
            if old or f"{self.path}/{name}" == self.staging:
                self._store.rm(f"{self.path}/{name}", recursive=True)

    def _verify(self, folder: str, written: Mapping[str, Digest]) -> None:
        self._store.invalidate_cache()
        with tempfile.TemporaryDirectory() as scratch:

            def read_back(name: str) -> Digest:
                copy = Path(scratch) / name
                self._store.get_file(f"{folder}/{name}", str(copy))
                return digest_of(copy)

            verify(written, read_back, folder)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError | ValueError | JobError) and text else f"{type(error).__name__}: {text}"
