"""The commands of the documents work as they stand, one after the other, and what they print is what is promised."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.cluster import OUTPUT, Cluster
from tests.e2e.commands import blocks, run, run_block
from tests.e2e.sample_platform import GOLDEN
from tests.process_support import wait_for

CHART_README = "charts/feature-platform/README.md"
K8S_README = "k8s/README.md"
NAMESPACE = "feature-platform"
EVERYTHING = "all,pvc,secret,ingress,networkpolicy,configmap,poddisruptionbudget"

Shell = Callable[[str], str]


def blocks_of(document: str, language: str = "sh") -> list[str]:
    return blocks((REPOSITORY / document).read_text(), language)


def only_block(document: str, part: str) -> str:
    (block,) = [block for block in blocks_of(document) if part in block]
    return block


@pytest.fixture
def shell(cluster: Cluster) -> Iterator[Shell]:
    """Runs a block as it stands, but for the name and port of the cluster; the namespace is empty again afterwards."""
    environment = {
        **cluster.environment, "CLUSTER": cluster.name, "KIND_CONFIG": str(OUTPUT / f"{cluster.name}.kind.yaml"),
    }  # fmt: skip

    def as_it_stands(block: str) -> str:
        here = block.replace("localhost:8080", cluster.ingress_url.removeprefix("http://"))
        return run_block(here, environment, REPOSITORY)

    yield as_it_stands
    cluster.run("kubectl", "delete", "namespace", NAMESPACE, "--wait", "--timeout=120s")
    cluster.run("kubectl", "apply", "--filename", REPOSITORY / "k8s" / "namespace.yaml")


def test_the_first_page_leads_from_an_empty_machine_to_a_feature(shell: Shell) -> None:
    printed = shell(only_block("README.md", "make kind-up"))
    answer = json.loads(printed.strip().splitlines()[-1])
    assert answer["user_id"] == GOLDEN
    assert len(answer["features"]) == 14


def test_the_charts_commands_work_one_after_the_other_and_the_last_leaves_nothing(
    shell: Shell, cluster: Cluster
) -> None:
    printed = [shell(block) for block in blocks_of(CHART_README)]
    told = "\n".join(printed)
    for promised in (
        r"Phase:\s+Succeeded",
        r"(?m)^first-\S+: materialize: done: as_of 2024-06-30",
        r"(?m)^materialize: done: as_of 2024-03-31(?:.*\n)+?materialize: done: as_of 2024-04-30",
        r"Message:\s+materialize: done: as_of 2024-06-30",
    ):
        assert re.search(promised, told), f"{promised} is not in\n{told}"
    assert "job.batch/training-set-1 created" in told
    wait_for(lambda: left_in_namespace(cluster) == ["configmap/kube-root-ca.crt"], "nothing to be left", seconds=60)


def left_in_namespace(cluster: Cluster) -> list[str]:
    """The names of what is there, as kubectl says them."""
    return cluster.run("kubectl", "--namespace", NAMESPACE, "get", EVERYTHING, "--output=name").decode().split()


def test_the_ground_of_the_chart_comes_up_and_holds_a_release(shell: Shell) -> None:
    (block,) = blocks_of(K8S_README)
    assert "STATUS: deployed" in shell(block)


def test_an_image_with_features_of_ones_own_is_built_from_the_dockerfile_that_is_shown(
    cluster: Cluster, tmp_path: Path
) -> None:
    (dockerfile,) = blocks_of(K8S_README, "dockerfile")
    (tmp_path / "Dockerfile").write_text(dockerfile)
    shutil.copytree(REPOSITORY / "feature_repo", tmp_path / "feature_repo")
    (tmp_path / "feature_repo" / "own.py").write_text("")
    name = f"{cluster.image}-own"
    run("docker", "build", "--quiet", "--tag", name, tmp_path)
    try:
        listed = run("docker", "run", "--rm", name, "python", "-c", "import feature_repo.own, os; print(os.getuid())")
    finally:
        run("docker", "image", "rm", name)
    assert listed == b"10001\n"
