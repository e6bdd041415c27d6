"""Putting a training set's folder in its place, and what its files hold."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.errors import JobError
from jobs.training.files import CSV, MANIFEST, PARQUET, Digest, digest_of, write_set
from jobs.training.folder import FolderOutput, _replace_in_two_steps


def _fill(place: Path, text: str, error: OSError | None = None) -> None:
    def write(folder: Path) -> Mapping[str, Digest]:
        (folder / CSV).write_text(text)
        if error:
            raise error
        return {CSV: digest_of(folder / CSV)}

    FolderOutput(place).put(write)


def test_a_full_disk_is_an_error_of_the_job_and_the_former_set_stays(tmp_path: Path) -> None:
    place = tmp_path / "set"
    _fill(place, "former")
    with pytest.raises(JobError, match=r"could not be written to .*set: .*No space left"):
        _fill(place, "half", OSError(errno.ENOSPC, "No space left on device"))
    assert (place / CSV).read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_new_set_takes_the_place_of_the_former(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "set"
    for text in ("first", "second"):
        _fill(place, text)
        assert (place / CSV).read_text() == text
        assert [path.name for path in place.parent.iterdir()] == ["set"]


def test_a_file_system_that_cannot_exchange_folders_gets_the_new_set_in_two_steps(tmp_path: Path) -> None:
    place, new = tmp_path / "set", tmp_path / "new"
    _fill(place, "former")
    _fill(new, "new")
    _replace_in_two_steps(new, place)
    assert (place / CSV).read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_former_set_that_a_killed_run_had_moved_aside_is_put_back_first(tmp_path: Path) -> None:
    place = tmp_path / "set"
    _fill(place, "former")
    place.rename(tmp_path / ".set.former")
    with pytest.raises(JobError):
        _fill(place, "half", OSError(errno.ENOSPC, "No space left on device"))
    assert (place / CSV).read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_a_killed_run_left_is_removed_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    place = tmp_path / "set"
    (tmp_path / ".set.partial-dead").mkdir()

    def write_while_another_does(folder: Path) -> Mapping[str, Digest]:
        (folder / CSV).write_text("other")
        _fill(place, "mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, "set"])
        return {CSV: digest_of(folder / CSV)}

    FolderOutput(place).put(write_while_another_does)
    assert (place / CSV).read_text() == "other"


def test_a_file_that_reads_back_otherwise_than_it_was_written_does_not_touch_the_former_set(tmp_path: Path) -> None:
    place = tmp_path / "set"
    _fill(place, "former")

    def lie(folder: Path) -> Mapping[str, Digest]:
        (folder / CSV).write_text("new")
        return {CSV: Digest(3, "0" * 64)}

    with pytest.raises(JobError, match=r"set/training_df.csv reads back as 3 bytes with sha256 .*, written were 3 "):
        FolderOutput(place).put(lie)
    assert (place / CSV).read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_manifest_names_length_and_sha256_of_what_was_written(tmp_path: Path) -> None:
    written = write_set([pa.table({"user_id": ["ann", "bob"], "churn": [True, None]})], lambda: {"rows": 2}, tmp_path)
    assert {name: digest_of(tmp_path / name) for name in (CSV, PARQUET, MANIFEST)} == written
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["files"] == {name: vars(written[name]) for name in (CSV, PARQUET)}


def test_csv_keeps_fractions_of_a_second_null_apart_from_empty_and_lists_as_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "at": pa.array([0, 1, None], pa.timestamp("us", "UTC")),
            "text": ["", None, 'a"b,\nc'],
            "list": [[1, 2], None, []],
            "flag": [True, None, False],
        }
    )
    write_set([table], dict, tmp_path)
    assert (tmp_path / CSV).read_text() == (
        '"at","text","list","flag"\n"1970-01-01T00:00:00Z","","[1, 2]","True"\n'
        '"1970-01-01T00:00:00.000001Z",,,\n,"a""b,\nc","[]","False"\n'
    )
