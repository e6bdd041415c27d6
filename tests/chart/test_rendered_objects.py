"""What each values file renders is right for Kubernetes, safe, and whole."""

import pytest

from tests.chart.branches import Branch, branches
from tests.chart.kubernetes_schemas import VERSIONS, null_faults, schema_faults
from tests.chart.name_checks import name_faults
from tests.chart.pod_checks import pod_faults, restricted_faults
from tests.chart.reference_checks import reference_faults
from tests.chart.rendering import refusal

each_branch = pytest.mark.parametrize("branch", branches(), ids=lambda branch: branch.name)


@each_branch
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_strict_schemas(branch: Branch, version: str) -> None:
    assert schema_faults(branch.render(kubernetes=version).objects, version) == []


@each_branch
def test_no_key_says_nothing(branch: Branch) -> None:
    assert null_faults(branch.render().objects) == []


@each_branch
def test_pods_are_restricted(branch: Branch) -> None:
    assert restricted_faults(branch.render().objects) == []


@each_branch
def test_pods_keep_to_what_we_ask_beyond_that(branch: Branch) -> None:
    assert pod_faults(branch.render().objects) == []


@each_branch
def test_references_lead_somewhere(branch: Branch) -> None:
    assert reference_faults(branch.render().objects, branch.outside) == []


@each_branch
@pytest.mark.parametrize("release", ["a", "feature-platform", "r" * 53], ids=["short", "own", "longest"])
def test_names_and_labels_are_allowed_with_any_name_of_the_release(branch: Branch, release: str) -> None:
    assert name_faults(branch.render(release=release).objects) == []


def test_an_older_kubernetes_is_refused() -> None:
    assert "requires kubeVersion: >=1.33" in refusal(kubernetes="1.32.9")
