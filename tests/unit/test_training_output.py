"""Which texts name a place for a training set."""

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.training.files import FILES, write_set
from jobs.training.output import parse_output


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_a_path_and_its_url_name_the_same_folder(tmp_path: Path, scheme: str) -> None:
    output = parse_output(f"{scheme}{tmp_path}/set")
    output.check()
    output.put(lambda folder: write_set([pa.table({"user_id": ["ann"]})], dict, folder))
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == sorted(FILES)


def test_a_place_reads_as_its_user_wrote_it() -> None:
    for text in ("sets/churn", "/sets/churn", "s3://bucket/churn", "ftp://host:2121/churn"):
        assert str(parse_output(text)) == text


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("file://sets/churn", "a file URL names an absolute path, as in file:///sets/churn"),
        ("simplecache::s3://bucket/churn", r"no chain \(::\)"),
        ("s3://bucket/churn-*", "no pattern"),
        ("s3://bucket/churn#1", "no fragment"),
    ],
)
def test_what_names_no_single_folder_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_output(url)


def test_a_password_in_a_url_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="FSSPEC_FTP_PASSWORD, or in a file of FSSPEC_CONFIG_DIR") as refused:
        parse_output("ftp://ann:hunter2@host/churn")
    assert "hunter2" not in str(refused.value)
