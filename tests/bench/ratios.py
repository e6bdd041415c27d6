"""The outcome of a benchmark: ratios of figures of one run, and what each must reach."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ratio:
    """A ratio (or, where the unit says so, a figure) and its bar: at least, or at most."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_reached(self) -> bool:
        """Whether the value is on the right side of the bar."""
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    def told(self) -> str:
        """One line of a table."""
        bar = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{'reached' if self.is_reached else 'MISSED '}  {self.value:9.3f}  {bar:16}  {self.name}"


def write(ratios: Sequence[Ratio], file: Path) -> None:
    """As JSON: {"ratios": [{"name", "value", "at_least" or "at_most"}, ...]}."""
    entries = [
        {"name": ratio.name, "value": ratio.value}
        | ({"at_least": ratio.at_least} if ratio.at_least is not None else {"at_most": ratio.at_most})
        for ratio in ratios
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"ratios": entries}, indent=2) + "\n")
