"""What is missing for these tests is said in one line each, before any of them runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart import tools


def told(tmp_path: Path, **environment: str) -> tuple[int, list[str]]:
    """The exit code and the lines of the look at what is there."""
    crds = tmp_path / "crd.yaml"
    crds.touch()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chart.tools"],
        env={**os.environ, "CRDS": str(crds), **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stderr.splitlines()


def program(tmp_path: Path, version: str) -> str:
    """A program that calls itself a Helm of some version."""
    path = tmp_path / "helm"
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path) -> None:
    assert told(tmp_path) == (0, [])


@pytest.mark.parametrize("variable", ["HELM", "HELM3"])
def test_a_missing_program_is_named_with_its_variable(tmp_path: Path, variable: str) -> None:
    said = f"no-such-helm is missing; put it on PATH, or name another program in {variable}"
    assert told(tmp_path, **{variable: "no-such-helm"}) == (2, [said])


def test_one_helm_for_both_is_not_enough(tmp_path: Path) -> None:
    code, (line,) = told(tmp_path, HELM3=tools.helm())
    assert (code, line.partition("; ")[2]) == (2, "name a Helm 3 from 3.18 on in HELM3")
    code, (line,) = told(tmp_path, HELM=tools.helm3())
    assert (code, line.partition("; ")[2]) == (2, "name a Helm 4 in HELM")


@pytest.mark.parametrize(("version", "code"), [("v3.17.4+g1", 2), ("v3.18.0+g1", 0), ("v3.22.0", 0)])
def test_helm_3_is_asked_for_from_3_18_on(tmp_path: Path, version: str, code: int) -> None:
    assert told(tmp_path, HELM3=program(tmp_path, version))[0] == code


def test_a_program_that_is_no_helm_is_named(tmp_path: Path) -> None:
    code, (line,) = told(tmp_path, HELM=program(tmp_path, "version 1"))
    assert (code, line.partition(" ")[2]) == (2, "is no Helm: it calls its version 'version 1'")


@pytest.mark.parametrize(
    ("crds", "said"), [("", "no file is named"), ("/no/such/crd.yaml", "no such file: /no/such/crd.yaml")]
)
def test_missing_crds_are_named(tmp_path: Path, crds: str, said: str) -> None:
    whole = f"the CRDs of custom kinds are missing: {said}; name their files or folders in CRDS"
    assert told(tmp_path, CRDS=crds) == (2, [whole])


def test_packed_crds_are_read_and_need_zstd(tmp_path: Path) -> None:
    packed = tmp_path / "crds.yaml.zst"
    subprocess.run(["zstd", "--quiet", "-o", packed], input=b"kind: CustomResourceDefinition\n", check=True)
    assert tools.text_of(packed) == "kind: CustomResourceDefinition\n"
    assert told(tmp_path, CRDS=str(packed)) == (0, [])
    helms = {"HELM": str(shutil.which(tools.helm())), "HELM3": str(shutil.which(tools.helm3()))}
    said = "zstd is missing, and CRDS names files that it has packed; put it on PATH, or unpack them"
    assert told(tmp_path, CRDS=str(packed), PATH=str(tmp_path), **helms) == (2, [said])


def test_everything_missing_is_said_at_once(tmp_path: Path) -> None:
    code, lines = told(tmp_path, HELM="no-helm", HELM3="no-helm3", CRDS="")
    assert (code, len(lines)) == (2, 3)
