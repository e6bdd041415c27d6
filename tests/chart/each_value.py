"""One value changed, and what becomes of the chart: the branch in which the change can be seen, before and after."""

import functools
import json
from dataclasses import dataclass
from typing import Any

from charts.document_values import chart_values
from tests.chart.branches import Branch, branches, merged
from tests.chart.manifests import HASHED_NAME, Manifest, template_of
from tests.chart.rendering import Refused
from tests.chart.value_changes import TOGETHER, changed, nested

# Every value that is set as a whole, by its path.
LEAVES = {value.path: value for value in chart_values() if not value.is_section}


@dataclass(frozen=True)
class Effect:
    """The objects of a branch before and after one of its values was changed."""

    branch: Branch
    before: list[Manifest]
    after: list[Manifest]

    @property
    def touched(self) -> list[Manifest]:
        """The objects that the change made, altered or removed."""
        one, other = ({comparable(manifest): manifest for manifest in side} for side in self._sides)
        return [{**one, **other}[key] for key in sorted(one.keys() ^ other.keys())]

    @property
    def _sides(self) -> list[list[Manifest]]:
        """Before and after, without what was read from the same text."""
        both = {id(manifest) for manifest in self.before} & {id(manifest) for manifest in self.after}
        return [[manifest for manifest in side if id(manifest) not in both] for side in (self.before, self.after)]


@functools.cache
def effect(path: str) -> Effect | str:
    """The first branch in which another value at the path changes an object, or why there is none."""
    refusals = []
    section = path.partition(".")[0]
    for branch in sorted(branches(), key=lambda branch: not branch.says(section)):
        try:
            found = _effect(branch, path)
        except Refused as error:
            refusals.append(f"{branch.name}: {error}")
            continue
        if found.touched:
            return found
    return f"changing {path} changes no object in any branch" + "".join(f"\n  refused in {said}" for said in refusals)


def _effect(branch: Branch, path: str) -> Effect:
    other = merged(nested(path, changed(LEAVES[path], branch.value(path))), TOGETHER.get(path, {}))
    return Effect(branch, branch.render().objects, branch.render(other).objects)


def comparable(manifest: Manifest) -> str:
    """An object without what would change with anything: the hash in its name, the checksums of its pods."""
    copied: Any = json.loads(json.dumps(manifest))
    if copied["kind"] == "Job":
        copied["metadata"]["name"] = HASHED_NAME.sub("", copied["metadata"]["name"])
    metadata = (template_of(copied) or copied)["metadata"]
    annotations = metadata.get("annotations", {}).items()
    metadata["annotations"] = {key: value for key, value in annotations if not key.startswith("checksum/")}
    return json.dumps(copied, sort_keys=True)
