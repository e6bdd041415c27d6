"""The Makefile's verbs and the locked requirements behind them."""

import re
import subprocess

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


def make(*verbs: str) -> str:
    """What make prints; verbose or parallel flags of a make around this one do not reach it."""
    ended = subprocess.run(
        ["make", "--no-print-directory", *verbs],
        cwd=REPOSITORY, env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ended.stdout


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
