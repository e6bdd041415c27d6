"""What the targets that need a cluster say where something is missing."""

import os
import subprocess

import pytest

from tests.conftest import REPOSITORY

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "CLUSTER_KIT": "/nonexistent"}


@pytest.mark.parametrize("verb", ["engine", "tools", "up", "down"])
def test_without_docker_one_line_says_so(verb: str) -> None:
    ended = subprocess.run(
        ["k8s/cluster", verb], cwd=REPOSITORY, env={**os.environ, **NO_ENGINE}, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    (line,) = ended.stderr.decode().splitlines()
    assert line == "No Docker engine answers (`docker info` fails): install Docker, or start it."


@pytest.mark.parametrize("verb", ["image", "kind-up", "kind-down", "e2e", "e2e-smoke"])
def test_every_make_target_that_needs_a_cluster_looks_for_docker_first(verb: str) -> None:
    plan = subprocess.run(["make", "--dry-run", verb], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    commands = [line for line in plan.splitlines() if "pip install" not in line and "-m venv" not in line]
    first = next(line for line in commands if "k8s/cluster" in line or "docker" in line or "pytest" in line)
    assert first.lstrip("@").startswith("k8s/cluster ")
