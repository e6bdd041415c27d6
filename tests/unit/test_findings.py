"""One run names everything that is wrong, in a line that Kubernetes keeps whole."""

import pytest

from jobs.ending import TERMINATION_MESSAGE_BYTES
from jobs.errors import EXIT_USAGE, UsageError
from jobs.findings import Finding, Findings, RefusedError


def refused(findings: Findings) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        findings.raise_any()
    return raised.value


def test_nothing_found_is_no_refusal() -> None:
    Findings().raise_any()


def test_a_usage_error_is_a_finding_about_its_object_and_what_follows_goes_on() -> None:
    findings = Findings()
    with findings.of("feature view", "a"):
        raise UsageError("a is wrong")
    with findings.of("feature service", "b"):
        raise UsageError("b is wrong")
    assert refused(findings).findings == (
        Finding("feature view", "a", "a is wrong"),
        Finding("feature service", "b", "b is wrong"),
    )


def test_what_is_no_usage_error_ends_the_collection() -> None:
    with pytest.raises(ZeroDivisionError), Findings().of("feature view", "a"):
        raise ZeroDivisionError


def test_findings_inside_an_object_keep_whom_they_are_about() -> None:
    inner, outer = Findings(), Findings()
    inner.add("join key", "id", "id is wrong")
    inner.add("feature view", "a", "a is wrong")
    with outer.of("feature view", "b"):
        inner.raise_any()
    assert [finding.name for finding in outer] == ["id", "a"]
    assert outer.names("join key") == {"id"}


def test_the_same_sentence_is_told_once() -> None:
    findings = Findings()
    for _ in range(2):
        findings.add("feature view", "a", "a is wrong")
    assert str(refused(findings)) == "a is wrong"


def test_several_are_counted_and_told_in_one_line_by_exit_code_2() -> None:
    findings = Findings()
    findings.add("feature view", "a", "a is\nwrong")
    findings.add("feature view", "b", "b is wrong")
    error = refused(findings)
    assert (error.exit_code, str(error)) == (EXIT_USAGE, "2 findings: (1) a is wrong; (2) b is wrong")


@pytest.mark.parametrize("letter", ["x", "ä", "漢"])
def test_however_many_and_long_the_line_fits_in_a_termination_message_and_says_how_many_are_left(letter: str) -> None:
    findings = Findings()
    for number in range(500):
        findings.add("feature view", f"v{number}", f"{number} {letter * 10_000}")
    line = str(refused(findings))
    told = line.count("...")
    assert told > 0
    assert len(line.encode()) < TERMINATION_MESSAGE_BYTES - 100
    assert line.startswith("500 findings: (1) 0 ")
    assert line.endswith(f"; and {500 - told} more, which the log names")
