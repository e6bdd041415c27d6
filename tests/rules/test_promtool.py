"""promtool is run, its refusal is handed on, and what is missing for it is said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules import promtool
from tests.rules.rendered import rule_file


def told(path: Path | None = None, **environment: str) -> tuple[int, list[str]]:
    """The exit code and the lines of the look at what is there, with programs of a folder alone."""
    around = {**os.environ, **environment} | ({} if path is None else {"PATH": str(path)})
    ended = subprocess.run(
        [sys.executable, "-m", "tests.rules.promtool"], env=around, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stderr.splitlines()


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert told() == (0, [])


def test_a_promtool_that_is_not_there_is_named_with_its_variable() -> None:
    said = "no-such-promtool is missing; name another promtool in PROMTOOL, or none to look for it"
    assert told(PROMTOOL="no-such-promtool") == (2, [said])


def test_without_promtool_and_docker_both_are_named(tmp_path: Path) -> None:
    helm = "helm is missing; put it on PATH, or name another program in HELM"
    assert told(tmp_path, HELM="", PROMTOOL="") == (2, [helm, promtool.LACKING])


def test_what_promtool_refuses_is_told_as_it_says_it() -> None:
    wrong = rule_file().replace("vector(1)", "vector(")
    with pytest.raises(promtool.Refused, match="could not parse expression"):
        promtool.run("check", "rules", "wrong.yaml", files={"wrong.yaml": wrong})
