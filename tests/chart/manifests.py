"""Rendered objects: read strictly, named, and walked."""

import functools
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Manifest = dict[str, Any]

HASHED_NAME = re.compile(r"-[0-9a-f]{8}$")
COMPONENT = "app.kubernetes.io/component"


class _StrictLoader(yaml.CSafeLoader):
    """YAML in which a key said twice is an error; the plain loader keeps the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"said twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Pod:
    """The pod that an object makes, and the object."""

    owner: Manifest
    labels: dict[str, str]
    spec: Manifest

    @property
    def name(self) -> str:
        return name_of(self.owner)

    @property
    def containers(self) -> list[Manifest]:
        """Containers, init containers among them."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Port numbers by name, over all containers."""
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}


def parse(text: str) -> list[Manifest]:
    """The objects of a rendering, in its order. They are shared: do not change them."""
    documents = (_document(part) for part in re.split(r"^---\s*$", text, flags=re.MULTILINE))
    return [document for document in documents if document is not None]


@functools.cache
def _document(text: str) -> Manifest | None:
    document = yaml.load(text, Loader=_StrictLoader)
    if document is not None and not (isinstance(document, dict) and "kind" in document):
        raise ValueError(f"rendered something that is no object: {text[:200]}")
    return document


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def lasting_name(manifest: Manifest) -> str:
    """The name without the hash that it may carry."""
    return HASHED_NAME.sub("-HASH", name_of(manifest))


def component_of(manifest: Manifest) -> str:
    found: str = manifest["metadata"].get("labels", {}).get(COMPONENT, "")
    return found


def template_of(manifest: Manifest) -> Manifest | None:
    """The pod template that an object holds; a Pod is its own."""
    if manifest["kind"] == "Pod":
        return manifest
    spec = manifest.get("spec", {})
    found: Manifest | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return found


def pods(objects: list[Manifest]) -> list[Pod]:
    """Each pod that the objects make."""
    made = [(manifest, template_of(manifest)) for manifest in objects]
    return [
        Pod(owner, template["metadata"].get("labels", {}), template["spec"])
        for owner, template in made
        if template is not None
    ]


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Each scalar with its path, as in `spec.ports[0].name`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{position}]")
    else:
        yield path, value
