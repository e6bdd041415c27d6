"""What the alerts do over given series: promtool's own test files, and what promtool says of each test in them."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.rules import promtool

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """One test of a file; its name begins with that of its alert."""

    name: str
    interval: str
    test: Mapping[str, Any]

    @property
    def alert(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def fires(self) -> bool:
        return any(tested.get("exp_alerts") for tested in self.test["alert_rule_test"])

    @property
    def has_series(self) -> bool:
        return bool(self.test.get("input_series"))


@functools.cache
def cases() -> list[Case]:
    """All of them."""
    files = [yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))]
    return [Case(test["name"], file["evaluation_interval"], test) for file in files for test in file["tests"]]


def outcomes(
    of: Sequence[Case], rule_files: Mapping[str, str], more_series: Sequence[Mapping[str, str]] = ()
) -> dict[str, str]:
    """What promtool says of each case by its name, nothing where all is as expected: run at once, a file for each."""
    tests = {
        f"case-{number}.yaml": yaml.safe_dump(
            {
                "rule_files": list(rule_files),
                "evaluation_interval": case.interval,
                "tests": [{**case.test, "input_series": [*case.test.get("input_series", ()), *more_series]}],
            }
        )
        for number, case in enumerate(of)
    }
    try:
        printed = promtool.run("test", "rules", *tests, files={**rule_files, **tests})
    except promtool.Refused as error:
        printed = str(error)
    said = dict(re.findall(r"^Unit Testing:  (\S+)\n(.*?)(?=^Unit|\Z)", printed, re.M | re.S))
    assert said.keys() == tests.keys(), printed
    return {case.name: _fault(said[f"case-{number}.yaml"]) for number, case in enumerate(of)}


def _fault(said: str) -> str:
    return "" if said.strip() == "SUCCESS" else said
