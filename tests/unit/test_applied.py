"""The fingerprint of what `apply` goes by: the same wherever it lies, another one when anything in it changes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import applied, migrations
from jobs.applied import fingerprint


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy of the shipped repository."""
    return Path(shutil.copytree(repository, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__")))


def test_it_is_the_same_wherever_the_folder_lies(repository: Path, copy: Path) -> None:
    assert fingerprint(copy) == fingerprint(repository)


def test_it_is_the_same_when_kubernetes_mounts_the_files(copy: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    shutil.copytree(copy, mounted / "..2024_01_31")
    (mounted / "..data").symlink_to("..2024_01_31")
    for entry in copy.iterdir():
        (mounted / entry.name).symlink_to(f"..data/{entry.name}")
    assert fingerprint(mounted) == fingerprint(copy)


def test_bytecode_does_not_count(copy: Path) -> None:
    before = fingerprint(copy)
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "features.pyc").write_bytes(b"x")
    assert fingerprint(copy) == before


CHANGES: dict[str, Callable[[Path], object]] = {
    "a definition": lambda repo: (repo / "features.py").open("a").write("\n"),
    "a new migration": lambda repo: (repo / "migrations" / "0002_more.sql").write_text(""),
    "a migration under another name": lambda repo: (repo / "migrations" / "0001_snapshots.sql").rename(
        repo / "migrations" / "0001_other.sql"
    ),
    "what Feast is not to read": lambda repo: (repo / ".feastignore").write_text(""),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_another_when_the_repository_changes_in(what: str, copy: Path) -> None:
    before = fingerprint(copy)
    CHANGES[what](copy)
    assert fingerprint(copy) != before


def test_it_is_another_for_another_release(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    before = fingerprint(repository)
    monkeypatch.setattr(applied, "VERSION", "0.0.1")
    assert fingerprint(repository) != before


def test_it_is_another_when_the_platforms_own_migrations_change(
    monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path
) -> None:
    before = fingerprint(repository)
    monkeypatch.setattr(migrations, "FOLDER", shutil.copytree(migrations.FOLDER, tmp_path / "platform"))
    assert fingerprint(repository) == before
    (tmp_path / "platform" / "0009_more.sql").write_text("")
    assert fingerprint(repository) != before
