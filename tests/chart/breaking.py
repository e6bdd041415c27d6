"""Rendered objects with one thing broken, to see that a check finds it."""

import copy
from collections.abc import Callable
from typing import Any

from tests.chart.branches import branch
from tests.chart.manifests import Manifest, name_of, template_of

FULL = "streamflow-feature-platform"
GONE = object()

Check = Callable[[list[Manifest]], list[str]]


def broken(name: str, path: str, value: object, of: str = "defaults") -> list[Manifest]:
    """A branch's objects with something else at a path of one of them; GONE removes what is there."""
    objects = copy.deepcopy(branch(of).render().objects)
    put(find(objects, name), path, value)
    return objects


def broken_pod(path: str, value: object) -> list[Manifest]:
    """The defaults' objects with something else in the specification of the gateway's pods."""
    objects = copy.deepcopy(branch("defaults").render().objects)
    template = template_of(find(objects, "Deployment gateway"))
    assert template is not None
    put(template, f"spec.{path}", value)
    return objects


def find(objects: list[Manifest], name: str) -> Manifest:
    """An object by its kind and its name after the release's."""
    kind, _, rest = name.partition(" ")
    return next(one for one in objects if name_of(one) == f"{kind} {FULL}-{rest}")


def put(tree: Any, path: str, value: object) -> None:
    """Set, add or remove what stands at a path; numbers are positions in lists, one behind the end adds."""
    parts: list[Any] = [int(part) if part.isdigit() else part for part in path.split(".")]
    *way, last = parts
    for part in way:
        tree = tree[part] if isinstance(tree, list) else tree.setdefault(part, {})
    if value is GONE:
        del tree[last]
    elif isinstance(tree, list) and last == len(tree):
        tree.append(value)
    else:
        tree[last] = value
