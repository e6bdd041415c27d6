"""Names and labels that Kubernetes allows; its schemas do not say this."""

import re
from collections.abc import Iterator

from tests.chart.manifests import Manifest, name_of, template_of

# A CronJob's Jobs get 11 characters more, and so do the pods of all others.
LONGEST = {"CronJob": 52, "StatefulSet": 52}
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def name_faults(objects: list[Manifest]) -> list[str]:
    """Names that are too long or have other signs, and values of labels likewise."""
    return [fault for manifest in objects for fault in (*_names(manifest), *_labels(manifest))]


def _names(manifest: Manifest) -> Iterator[str]:
    name = manifest["metadata"]["name"]
    if len(name) > LONGEST.get(manifest["kind"], 63):
        yield f"{name_of(manifest)} has {len(name)} characters"
    if not NAME.fullmatch(name):
        yield f"{name_of(manifest)} is no DNS label"
    if not manifest["metadata"].get("namespace"):
        yield f"{name_of(manifest)} names no namespace"


def _labels(manifest: Manifest) -> Iterator[str]:
    for holder in (manifest, template_of(manifest) or manifest):
        for key, value in holder["metadata"].get("labels", {}).items():
            if not (isinstance(value, str) and LABEL.fullmatch(value)):
                yield f"{name_of(manifest)}: label {key} is {value!r}"
