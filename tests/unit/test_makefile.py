"""The Makefile's verbs and the locked requirements behind them."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text()


def test_help_lists_every_verb_once_and_on_one_line() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    lines = make("help").splitlines()
    assert [line.split()[:2] for line in lines] == [["make", verb] for verb in phony.split()]
    assert all(len(line.split(maxsplit=2)) == 3 and len(line) <= 120 for line in lines), "each says what it does"


def test_every_rule_but_a_files_is_a_verb() -> None:
    rules = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert rules == set(phony.split())


def test_make_alone_is_help() -> None:
    assert make() == make("help")


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_lock_every_package_by_hash(name: str) -> None:
    for package in packages(name):
        head, *options = package.split()
        assert re.fullmatch(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^=]+", head), f"{head} is not pinned"
        assert any(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in options), f"{head} has no hash"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_name_no_address(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    for word in ("http:", "https:", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", "@", "file:"):
        assert word not in text, f"{name} says {word}"


def test_what_runs_in_production_is_what_is_tested() -> None:
    tested = pins("requirements-dev.txt")
    assert pins("requirements.txt").items() <= tested.items()


@pytest.mark.parametrize("verb", ["image", "kind-up", "kind-down"])
def test_without_a_docker_engine_one_line_says_what_is_missing(verb: str) -> None:
    ended = run_make(verb, "CLUSTER_KIT=/nowhere", DOCKER_HOST="unix:///nowhere")
    sentence, *rest = ended.stderr.splitlines()
    assert sentence == "No Docker engine answers (`docker info` fails): install Docker, or start it."
    assert ended.returncode != 0
    assert not ended.stdout, "nothing was begun"
    assert all(line.startswith("make: ***") for line in rest)


def test_a_kit_that_brings_no_docker_engine_is_named(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    kit.write_text('#!/bin/sh\necho "kit $1"\n')
    kit.chmod(0o755)
    ended = run_make("kind-up", f"CLUSTER_KIT={kit}", DOCKER_HOST="unix:///nowhere")
    assert ended.returncode != 0
    assert ended.stdout == "kit up\n"
    assert ended.stderr.splitlines()[0] == f"{kit} up has ended, and still no Docker engine answers."


def make(*verbs: str) -> str:
    """What make prints."""
    ended = run_make(*verbs)
    ended.check_returncode()
    return ended.stdout


def run_make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """make as it ended; verbose or parallel flags of a make around this one do not reach it."""
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY, env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}, capture_output=True, text=True,
    )  # fmt: skip


def packages(name: str) -> list[str]:
    """Each requirement with its options, on one line and without comments."""
    text = re.sub(r"^\s*#.*$", "", (REPOSITORY / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def pins(name: str) -> dict[str, str]:
    """Each package with its version; one that is locked twice for different Pythons, with both."""
    found: dict[str, str] = {}
    for package in packages(name):
        head = package.split()[0]
        found[head.split("==")[0]] = found.get(head.split("==")[0], "") + head
    return found
