"""A missing browser is said in one line, before any test runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def told(**environment: str) -> tuple[int, str]:
    """The exit code and what is said of the browser."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.page.tools"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stderr


def test_nothing_is_said_where_a_browser_is() -> None:
    assert told() == (0, "")


def test_a_browser_that_is_named_and_not_there_is_named() -> None:
    said = "Chromium is missing: no such program: no-such-browser; install it, or name its program in CHROMIUM\n"
    assert told(CHROMIUM="no-such-browser") == (2, said)


def test_without_a_browser_on_path_the_names_that_were_looked_for_are_said(tmp_path: Path) -> None:
    code, said = told(CHROMIUM="", PATH=str(tmp_path))
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("Chromium is missing: none of chromium, chromium-browser, google-chrome is on PATH; ")


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_each_usual_name_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    assert told(CHROMIUM="", PATH=str(tmp_path)) == (0, "")
