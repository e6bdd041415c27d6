"""Training sets at URLs: on a real FTP server, which can move a file, and a real S3 server, which cannot."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.registry import _registry as implementations
from obstore.fsspec import FsspecStore

from jobs.errors import EXIT_FAILED, JobError, UsageError
from jobs.process import free_port
from jobs.training.files import CSV, FILES, MANIFEST, PARQUET, Digest, digest_of, write_set
from jobs.training.output import Output, parse_output
from jobs.training.remote import LEFTOVER_SECONDS
from tests.conftest import REPOSITORY
from tests.file_servers import FtpServer, S3Server
from tests.process_support import wait_for

BUCKET = "models"


class S3Files(FsspecStore):
    """S3 by a package of the developers', registered with fsspec as s3fs is where that is installed."""

    protocol = "s3"


@dataclass
class Place:
    """A URL, and where its files are on the server's disk."""

    url: str
    folder: Path

    @property
    def output(self) -> Output:
        return parse_output(self.url)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    def rows(self) -> int:
        """Of the set that must be there, whole."""
        manifest = json.loads((self.folder / MANIFEST).read_text())
        for name, about in manifest["files"].items():
            assert vars(digest_of(self.folder / name)) == about
        return int(manifest["rows"])


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    server = FtpServer(tmp_path_factory.mktemp("ftp"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    (server.root / BUCKET).mkdir()
    yield server
    server.stop()


@pytest.fixture
def ftp_login(ftp: FtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # What fsspec read from FSSPEC_FTP_USERNAME and FSSPEC_FTP_PASSWORD when it was imported.
    monkeypatch.setitem(fsspec.config.conf, "ftp", {"username": ftp.user, "password": ftp.password})


@pytest.fixture
def s3_login(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(implementations, "s3", S3Files)
    login = {"ACCESS_KEY_ID": s3.user, "SECRET_ACCESS_KEY": s3.password, "REGION": "eu-central-1"}
    for name, value in {**login, "ENDPOINT_URL": s3.endpoint, "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def ftp_place(ftp: FtpServer, ftp_login: None) -> Place:
    shutil.rmtree(ftp.root / "sets", ignore_errors=True)
    return Place(ftp.url("sets/churn"), ftp.root / "sets" / "churn")


@pytest.fixture
def s3_place(s3: S3Server, s3_login: None) -> Place:
    shutil.rmtree(s3.root / BUCKET / "sets", ignore_errors=True)
    return Place(f"s3://{BUCKET}/sets/churn", s3.root / BUCKET / "sets" / "churn")


@pytest.fixture(params=["ftp_place", "s3_place"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def fill(output: Output, rows: int) -> None:
    """Put a set of so many rows there."""
    table = pa.table({"user_id": [f"user-{number}" for number in range(rows)], "churn": [True] * rows})
    output.put(lambda folder: write_set([table], lambda: {"rows": rows}, folder))


# --- what is refused, before anything is read


@pytest.mark.parametrize(
    ("url", "package"), [("s3://bucket/set", "s3fs"), ("gs://bucket/set", "gcsfs"), ("abfs://c@a/set", "adlfs")]
)
def test_a_scheme_whose_package_is_missing_is_refused_by_the_packages_name(url: str, package: str) -> None:
    with pytest.raises(UsageError, match=f"^--output {url} needs the Python package {package}, which is not installed"):
        parse_output(url).check()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("nonsense://host/set", "cannot be written: Protocol not known: nonsense"),
        ("memory://set/churn", "would be gone with this process"),
        ("data://set/churn", "cannot be written: "),
    ],
)
def test_a_url_that_nothing_can_be_put_at_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"^--output {url} {complaint}"):
        parse_output(url).check()


def test_a_url_that_names_no_folder_is_refused(ftp: FtpServer, ftp_login: None, s3_login: None) -> None:
    for url in (ftp.url("").rstrip("/"), f"s3://{BUCKET}"):
        with pytest.raises(UsageError, match=f"^--output {url} names no folder; name one inside it, as in {url}/churn"):
            parse_output(url).check()


def test_a_bucket_that_is_not_there_is_not_made(s3: S3Server, s3_login: None) -> None:
    with pytest.raises(JobError, match=r"^--output s3://misspelt/churn cannot be written: "):
        parse_output("s3://misspelt/churn").check()
    assert [path.name for path in s3.root.iterdir()] == [BUCKET]


def test_a_wrong_password_is_wrong_usage(ftp_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "ftp", {"username": "trainer", "password": "guessed"})
    with pytest.raises(UsageError, match=r"churn cannot be written: error_perm: 530 .*not logged in") as refused:
        ftp_place.output.check()
    assert "guessed" not in str(refused.value)


def test_a_server_that_is_not_there_may_be_tried_again() -> None:
    with pytest.raises(JobError, match=r"cannot be written: .*Connection refused") as failed:
        parse_output(f"ftp://127.0.0.1:{free_port()}/churn").check()
    assert failed.value.exit_code == EXIT_FAILED


def test_a_folder_that_holds_anything_else_is_refused_and_stays_as_it_was(place: Place) -> None:
    fill(place.output, 3)
    (place.folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=f"^--output {place.url} holds notes.txt, which is no part of a training set"):
        place.output.check()
    assert place.names() == sorted([*FILES, "notes.txt"])


def test_a_file_is_refused(place: Place) -> None:
    fill(place.output, 3)
    with pytest.raises(UsageError, match=rf"^--output {place.url}/{CSV} is a file; name a folder"):
        parse_output(f"{place.url}/{CSV}").check()


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = FtpServer(tmp_path, "--read-only")
    try:
        monkeypatch.setitem(fsspec.config.conf, "ftp", {"username": server.user, "password": server.password})
        with pytest.raises(UsageError, match=r"/churn cannot be written: .*Read only file system"):
            parse_output(server.url("churn")).check()
    finally:
        server.stop()


# --- what is put there


def test_the_check_leaves_no_file(place: Place) -> None:
    place.output.check()
    assert place.names() == []


def test_a_set_has_the_names_that_users_expect_and_a_manifest_that_fits(place: Place, tmp_path: Path) -> None:
    place.output.check()
    fill(place.output, 1000)
    assert place.names() == [MANIFEST, CSV, PARQUET]
    assert place.rows() == 1000
    fill(parse_output(str(tmp_path / "here")), 1000)
    for name in FILES:
        assert (place.folder / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_new_set_takes_the_place_of_the_former(place: Place) -> None:
    for rows in (5, 7):
        place.output.check()
        fill(place.output, rows)
        assert place.names() == [MANIFEST, CSV, PARQUET]
        assert place.rows() == rows


def test_a_file_in_several_pieces_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes pieces only where it may keep the file here until it is whole, and remembers how long it is.
    keeping = ["--vfs-cache-mode", "writes", "--cache-dir", str(tmp_path / "cache"), "--dir-cache-time", "1h"]
    server = FtpServer(tmp_path, *keeping)
    try:
        monkeypatch.setitem(fsspec.config.conf, "ftp", {"username": server.user, "password": server.password})
        monkeypatch.setattr("jobs.training.remote.PIECE_BYTES", 8192)
        fill(parse_output(server.url("churn")), 5000)
        fill(parse_output(str(tmp_path / "here")), 5000)
        with fsspec.open(server.url(f"churn/{CSV}"), "rb") as file:
            content = file.read()
    finally:
        server.stop()
    assert content == (tmp_path / "here" / CSV).read_bytes()
    assert len(content) > 3 * 8192


def test_what_reads_back_otherwise_than_it_was_written_does_not_touch_the_former_set(place: Place) -> None:
    fill(place.output, 5)

    def lie(folder: Path) -> Mapping[str, Digest]:
        written = write_set([pa.table({"user_id": ["ann"]})], lambda: {"rows": 1}, folder)
        return {**written, CSV: Digest(9, "0" * 64)}

    with pytest.raises(JobError, match=rf"{CSV} reads back as .* written were 9 with 0+; what was there before still"):
        place.output.put(lie)
    assert place.rows() == 5
    assert place.names() == [MANIFEST, CSV, PARQUET]


class LiesLater(dict[str, Digest]):
    """Says of the CSV file, once it was compared, that something else was written."""

    compared = 0

    def items(self) -> Any:
        self.compared += 1
        return {**self, CSV: Digest(9, "0" * 64)}.items() if self.compared > 1 else super().items()


def test_what_reads_back_otherwise_in_its_place_loses_its_manifest(place: Place) -> None:
    table = pa.table({"user_id": ["ann"]})
    with pytest.raises(JobError, match=rf"{CSV} reads back as .*; a set is there only if a manifest is; run it again"):
        place.output.put(lambda folder: LiesLater(write_set([table], lambda: {"rows": 1}, folder)))
    assert place.names() == [CSV, PARQUET]


def test_a_full_disk_here_does_not_touch_the_former_set(place: Place) -> None:
    fill(place.output, 5)

    def fail(_: Path) -> Mapping[str, Digest]:
        raise OSError(28, "No space left on device")

    with pytest.raises(JobError, match=f"could not be put to {place.url}: .*No space left.*before still is"):
        place.output.put(fail)
    assert place.rows() == 5


def test_a_move_that_fails_leaves_no_manifest_and_the_next_run_mends_it(ftp_place: Place) -> None:
    fill(ftp_place.output, 5)
    (ftp_place.folder / PARQUET).unlink()
    (ftp_place.folder / PARQUET / "in the way").mkdir(parents=True)
    with pytest.raises(JobError, match=r"; a set is there only if a manifest is; run it again"):
        fill(ftp_place.output, 7)
    assert ftp_place.names() == [CSV, PARQUET]
    shutil.rmtree(ftp_place.folder / PARQUET)
    fill(ftp_place.output, 7)
    assert ftp_place.rows() == 7


def test_what_runs_left_long_ago_is_removed_and_what_another_may_be_uploading_is_not(place: Place) -> None:
    long_ago, now = int(time.time()) - LEFTOVER_SECONDS - 60, int(time.time())
    for seconds in (long_ago, now):
        leftover = place.folder / f"_partial-{seconds}-0a1b"
        leftover.mkdir(parents=True)
        (leftover / CSV).write_text("half")
    place.output.check()
    fill(place.output, 5)
    assert place.names() == [f"_partial-{now}-0a1b", MANIFEST, CSV, PARQUET]


UPLOAD = """
    import sys, tests.integration.test_training_output as this
    from jobs.ending import interruptible
    from jobs.training.files import CSV, FILES, digest_of
    from jobs.training.output import parse_output

    def much(folder):
        for name in FILES:
            with (folder / name).open("wb") as file:
                file.truncate(400 << 20 if name == CSV else 10)
        return {name: digest_of(folder / name) for name in FILES}

    this.implementations["s3"] = this.S3Files
    with interruptible():
        parse_output(sys.argv[1]).put(much)
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_while_it_uploads_does_not_touch_the_former_set(
    ftp: FtpServer, place: Place, ending: signal.Signals
) -> None:
    fill(place.output, 5)
    login = {"FSSPEC_FTP_USERNAME": ftp.user, "FSSPEC_FTP_PASSWORD": ftp.password}
    job = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(UPLOAD), place.url],
        cwd=REPOSITORY, env={**os.environ, **login}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: job.poll() is not None or has_file(place.folder), "the upload begins", 60)
        job.send_signal(ending)
        _, said = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode in (1, -signal.SIGKILL), said
    assert place.rows() == 5
    left = [name for name in place.names() if name not in FILES]
    assert len(left) == (1 if ending == signal.SIGKILL else 0), said


def has_file(folder: Path) -> bool:
    """Whether an upload has begun."""
    return any(folder.glob("_partial-*/*"))
