"""`python -m jobs.NAME --help` tells all, and at once."""

import os
import re
import subprocess
import sys
from functools import cache

import pytest

from jobs.flags import ENVIRONMENT
from jobs.postgres import REQUIRED
from jobs.settings import PREFIX, Settings
from tests.conftest import REPOSITORY

JOBS = sorted(
    file.stem for file in (REPOSITORY / "jobs").glob("*.py") if 'if __name__ == "__main__"' in file.read_text()
)


def test_the_designed_jobs_are_there() -> None:
    assert {"ingest", "apply", "materialize", "training_set", "feature_server"} <= set(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_help_explains_every_flag_and_the_environment(job: str) -> None:
    text = help_and_imports(job)[0]
    usage, options = text.split("\n\n", 1)[0], text.split("\noptions:\n")[1].split("\n\n")[0]
    assert usage.startswith(f"usage: python -m jobs.{job} ")
    entries = [re.split(r"\s{2,}", entry.strip(), maxsplit=1) for entry in re.split(r"\n(?=  -)", "\n" + options)[1:]]
    assert all(len(entry) == 2 for entry in entries), "each flag says what it does"
    explained = {flag for flags, _ in entries for flag in re.findall(r"--[a-z-]+", flags)}
    assert explained == set(re.findall(r"--[a-z-]+", usage)) | {"--help"}
    assert ENVIRONMENT in text


@pytest.mark.parametrize("job", JOBS)
def test_help_does_not_wait_for_feast(job: str) -> None:
    imported = help_and_imports(job)[1]
    assert "argparse" in imported
    assert not imported & {"feast", "sqlalchemy", "sklearn"}, "none of these is needed for a list of flags"


def test_the_environment_help_names_every_setting() -> None:
    for name in (*REQUIRED, *(f"{PREFIX}{field.upper()}" for field in Settings.model_fields)):
        assert name in ENVIRONMENT


@cache
def help_and_imports(job: str) -> tuple[str, frozenset[str]]:
    """What `--help` prints without any setting, and the names of the modules that were imported for it."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PG", PREFIX))}
    command = [sys.executable, "-X", "importtime", "-m", f"jobs.{job}", "--help"]
    ended = subprocess.run(command, cwd=REPOSITORY, env=bare, capture_output=True, text=True, check=True)
    modules = re.findall(r"^import time:.*\| +([\w.]+)$", ended.stderr, re.MULTILINE)
    return ended.stdout, frozenset(modules)
