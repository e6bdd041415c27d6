"""The README's commands work as they stand and print what it says, and the tests that it names exist."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.local.platform import LocalPlatform
from tests.conftest import PROJECT, REPOSITORY

README = (REPOSITORY / "README.md").read_text()
# What the suite cannot run inside itself; test_demo.py runs the first, and CI the others.
MAKE_VERBS = ("make demo", "make test")


def transcript() -> Iterator[tuple[str, str]]:
    """Each command of a console block with what the README shows as its output."""
    for block in re.findall(r"^```console\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE):
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, flags=re.MULTILINE):
            yield command, output.strip()


def steady(text: str) -> str:
    """Without what differs from run to run: seconds."""
    return re.sub(r"\d+\.\d s", "N s", text).strip()


@pytest.fixture
def platform_by_hand(servers_folder: Path, tmp_path: Path) -> Iterator[LocalPlatform]:
    platform = LocalPlatform(servers_folder / "by-hand", tmp_path / "logs", REPOSITORY / "feature_repo", PROJECT)
    yield platform
    platform.stop()


def test_each_command_prints_what_the_readme_shows(platform_by_hand: LocalPlatform, tmp_path: Path) -> None:
    platform = platform_by_hand
    commands = [(command, shown) for command, shown in transcript() if command not in MAKE_VERBS]
    assert len(commands) >= 10
    for command, shown in commands:
        if command.endswith(" -m api &"):
            platform.start_gateway({"FEATURE_PLATFORM_FRESHNESS_REFERENCE": "watermark"})
            continue
        here = command.replace(".venv/bin/python", sys.executable).replace("localhost:8000", platform.gateway_url)
        ended = subprocess.run(
            ["bash", "-c", here.replace("build/", f"{tmp_path}/build/")],
            env=platform.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        printed = ended.stdout.replace(str(tmp_path) + "/", "")
        assert steady(printed) == steady(shown), f"{command}\n{ended.stderr[-2000:]}"


def test_the_make_verbs_of_the_readme_exist() -> None:
    for verb in {command.split("=1 ")[-1] for command, _ in transcript() if command.startswith("make")}:
        subprocess.run([*verb.split(), "--dry-run"], cwd=REPOSITORY, check=True, capture_output=True)


def test_every_test_file_that_the_readme_names_exists() -> None:
    named = re.findall(r"`(?:tests/)?((?:unit|integration|faults)/)?(test_\w+\.py)`", README)
    assert len(named) > 10
    for _, name in named:
        assert list((REPOSITORY / "tests").glob(f"*/{name}")), f"{name} is named in the README and does not exist"
