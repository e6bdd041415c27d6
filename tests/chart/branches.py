"""The values files that the checks render: the chart's defaults, the examples, and ours for what those leave out."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart.rendering import CHART, Rendering, Values, notes, render
from tests.conftest import REPOSITORY

FOLDERS = (REPOSITORY / "k8s" / "values", REPOSITORY / "tests" / "chart" / "values")


@dataclass(frozen=True)
class Branch:
    """One values file, or the defaults alone; with a password of our own wherever the chart would make one up."""

    name: str
    files: tuple[Path, ...]

    def render(self, values: Values | None = None, *, chart: Path = CHART, **options: Any) -> Rendering:
        """The branch with values over it; the same at each call."""
        return render(*self.files, values=merged(planted(self.files), values or {}), chart=chart, **options)

    def notes(self, values: Values | None = None) -> str:
        """What `helm install` would say at its end."""
        return notes(*self.files, values=merged(planted(self.files), values or {}))

    def value(self, path: str) -> Any:
        """What the branch has at a dotted path."""
        return functools.reduce(lambda tree, key: tree[key], path.split("."), _said(self.files))

    def says(self, section: str) -> bool:
        """Whether the branch is about a section of the values; the defaults are about all."""
        return not self.files or any(section in yaml.safe_load(file.read_text()) for file in self.files)

    @property
    def outside(self) -> frozenset[str]:
        """The objects that the values name and somebody else makes."""
        return frozenset(_named_outside(_said(self.files)))


def branches() -> list[Branch]:
    """All of them, the defaults first."""
    files = [file for folder in FOLDERS for file in sorted(folder.glob("*.yaml"))]
    return [Branch("defaults", ()), *(Branch(file.stem, (file,)) for file in files)]


def branch(name: str) -> Branch:
    """The branch of a name."""
    return next(one for one in branches() if one.name == name)


def merged(under: Values, over: Values) -> dict[str, Any]:
    """Two trees of values as Helm merges them."""
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@functools.cache
def planted(files: tuple[Path, ...]) -> dict[str, Any]:
    """A recognizable password for each credential for which the values name no Secret."""
    credentials = _said(files)["credentials"]
    return {
        "credentials": {
            store: {
                user: {"password": f"planted-{store}-{user}".lower()}
                for user, credential in users.items()
                if not credential["existingSecret"]
            }
            for store, users in credentials.items()
        }
    }


@functools.cache
def _said(files: tuple[Path, ...]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for file in (CHART / "values.yaml", *files):
        said = merged(said, yaml.safe_load(file.read_text()) or {})
    return said


def _named_outside(values: Any, key: str = "") -> list[str]:
    """What stands under a key like existingClaim, existingSecret or caSecret.name."""
    if isinstance(values, dict):
        inner = [(f"{key}.name" if name == "name" else name, value) for name, value in values.items()]
        return [found for name, value in inner for found in _named_outside(value, name)]
    return [values] if key.endswith(("Secret", "Secret.name", "existingClaim")) and values else []
