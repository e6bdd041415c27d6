"""Helm 4 and Helm 3 render the same, and each of them the same twice."""

import pytest

from tests.chart import tools
from tests.chart.branches import Branch, branches

each_branch = pytest.mark.parametrize("branch", branches(), ids=lambda branch: branch.name)


@each_branch
def test_both_helms_render_the_same(branch: Branch) -> None:
    assert branch.render(program=tools.helm3()).objects == branch.render().objects


@each_branch
def test_two_renderings_are_equal_where_passwords_are_given(branch: Branch) -> None:
    assert branch.render(again=True).text == branch.render().text
