"""`make materialize`: what is refused before a cluster is looked for, and what its variables become."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.unit.test_makefile import make

SENTENCES = {
    "": "Which instant? Say for example: make materialize AS_OF=2024-03-31",
    "tomorrow": "'tomorrow' is not an instant; write a date like 2024-01-31 or ISO 8601 like 2024-01-31T06:00:00Z",
}


@pytest.mark.parametrize("as_of", SENTENCES)
def test_an_instant_that_is_missing_or_malformed_is_one_sentence_without_a_look_at_the_cluster(as_of: str) -> None:
    ended = by_hand(as_of)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", SENTENCES[as_of] + "\n")


def test_no_cluster_to_use_is_one_sentence() -> None:
    ended = by_hand("2024-03-31")
    (sentence,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence.startswith("kubectl has no cluster to use: ")


@pytest.mark.parametrize(
    ("variables", "flags"),
    [
        (["AS_OF=2024-03-31"], "--as-of='2024-03-31' --namespace='feature-platform' --release=''"),
        (["AS_OF=2024-03-31", "ROLLBACK=0"], "--as-of='2024-03-31' --namespace='feature-platform' --release=''"),
        (
            ["AS_OF=2024-03-31", "ROLLBACK=1", "NAMESPACE=churn", "RELEASE=blue"],
            "--as-of='2024-03-31' --rollback --namespace='churn' --release='blue'",
        ),
    ],
)
def test_the_variables_of_make_become_flags(variables: list[str], flags: str) -> None:
    recipe = make("--dry-run", "materialize", *variables).replace("\\\n", " ")
    assert " ".join(recipe.split()).endswith(f"-m jobs.local.by_hand {flags}")


def by_hand(as_of: str) -> subprocess.CompletedProcess[str]:
    """What a materialization by hand says where no cluster is configured."""
    command = [sys.executable, "-m", "jobs.local.by_hand", "--namespace=any", f"--as-of={as_of}"]
    nowhere = {**os.environ, "KUBECONFIG": "/nowhere"}
    return subprocess.run(command, cwd=REPOSITORY, env=nowhere, capture_output=True, text=True)
