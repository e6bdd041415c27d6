"""The schemas that rendered objects must fit: Kubernetes' own, strict, and those of custom kinds from their CRDs."""

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

from tests.chart.manifests import Manifest, leaves, name_of
from tests.chart.tools import crd_files, text_of

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")


class _CrdLoader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: the sign = is text, and no type of its own."""

    yaml_constructors: ClassVar = {
        **yaml.CSafeLoader.yaml_constructors,
        "tag:yaml.org,2002:value": yaml.CSafeLoader.construct_yaml_str,
    }


def schema_faults(objects: list[Manifest], version: str) -> list[str]:
    """What does not fit the schemas of a Kubernetes version, and kinds that have none."""
    return [fault for manifest in objects for fault in _faults(json.dumps(manifest, sort_keys=True), version)]


def null_faults(objects: list[Manifest]) -> list[str]:
    """Keys that say nothing, as a block does whose content was left out; schemas let them pass."""
    return [
        f"{name_of(manifest)}: {path} is null"
        for manifest in objects
        for path, value in leaves(manifest)
        if value is None
    ]


@functools.cache
def _faults(manifest_json: str, version: str) -> list[str]:
    manifest = json.loads(manifest_json)
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [_sentence(manifest, error.absolute_path, error.message)]
    except kubernetes_validate.SchemaNotFoundError:
        return _custom_faults(manifest)
    return []


def _custom_faults(manifest: Manifest) -> list[str]:
    schema = _custom_schemas().get((manifest["apiVersion"], manifest["kind"]))
    if schema is None:
        return [f"{name_of(manifest)}: no CRD in CRDS describes {manifest['apiVersion']} {manifest['kind']}"]
    errors = Draft202012Validator(schema).iter_errors(manifest)
    return [_sentence(manifest, error.absolute_path, error.message) for error in errors]


def _sentence(manifest: Manifest, path: Any, message: str) -> str:
    return f"{name_of(manifest)}: {'.'.join(map(str, path))}: {message}"


@functools.cache
def _custom_schemas() -> dict[tuple[str, str], Manifest]:
    """The closed schema of each served custom kind, by apiVersion and kind."""
    return {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]): closed(
            version["schema"]["openAPIV3Schema"]
        )
        for crd in _crds()
        for version in crd["spec"]["versions"]
        if version["served"]
    }


def _crds() -> Iterator[Manifest]:
    for file in crd_files():
        for document in yaml.load_all(text_of(file), Loader=_CrdLoader):
            if document and document["kind"] == "CustomResourceDefinition":
                yield document


def closed(schema: Manifest) -> Manifest:
    """An openAPIV3Schema as JSON Schema that refuses unknown keys, which a cluster would silently drop.

    Rules in CEL (x-kubernetes-validations) are not evaluated.
    """
    result = copy.copy(schema)
    if result.pop("x-kubernetes-int-or-string", False):
        result["type"] = ["integer", "string"]
    if "properties" in schema:
        result["properties"] = {key: closed(inner) for key, inner in schema["properties"].items()}
        result.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields", False)))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = closed(schema[key])
    return result
