"""Each alert fires when it should, says what it should, and is silent otherwise, also beside other releases."""

import functools

import pytest

from tests.rules import neighbours
from tests.rules.cases import Case, cases, outcomes
from tests.rules.rendered import names, rule_file

# Every release has its own, all the time.
ALWAYS = "Watchdog"

each_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
each_alert = pytest.mark.parametrize("alert", sorted({case.alert for case in cases()}))


@functools.cache
def alone() -> dict[str, str]:
    return outcomes(cases(), {"rules.yaml": rule_file()})


def among_others() -> list[Case]:
    return [case for case in cases() if case.fires and case.alert != ALWAYS]


@functools.cache
def beside_others() -> dict[str, str]:
    files = {"rules.yaml": rule_file(), **neighbours.rule_files()}
    return outcomes(among_others(), files, neighbours.series())


@each_case
def test_an_alert(case: Case) -> None:
    assert alone()[case.name] == ""


@pytest.mark.parametrize("case", among_others(), ids=lambda case: case.name)
def test_an_alert_fires_of_its_own_release_alone(case: Case) -> None:
    assert beside_others()[case.name] == ""


@each_alert
def test_an_alert_is_tested_where_it_fires_where_all_is_well_and_without_series(alert: str) -> None:
    own = [case for case in cases() if case.alert == alert]
    assert any(case.fires for case in own), "no case fires"
    assert alert == ALWAYS or any(case.has_series and not case.fires for case in own), "no case is silent"
    assert any("without" in case.name for case in own), "no case is without series"


def test_every_alert_is_tested() -> None:
    assert {case.alert for case in cases()} == names()


def test_the_cases_have_names_of_their_own() -> None:
    given = [case.name for case in cases()]
    assert sorted(given) == sorted(set(given))
