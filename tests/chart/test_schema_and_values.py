"""values.schema.json and values.yaml agree both ways, and the schema lets nothing in that it does not describe."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from charts.document_values import HELMS_OWN, Schema, Value, chart_values, schema_json
from tests.chart.rendering import CHART, refusal
from tests.chart.value_changes import nested

SCHEMA: Schema = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# What Kubernetes describes, and the chart hands on as it is.
FREE = {
    HELMS_OWN, "affinity", "annotations", "egress", "extraEnv", "extraVolumeMounts", "extraVolumes",
    "featureServerFrom", "gatewayFrom", "labels", "metricsFrom", "nodeSelector", "parameters", "parentRefs",
    "podAnnotations", "podLabels", "limits", "requests", "storesTo", "tolerations", "topologySpreadConstraints",
}  # fmt: skip


def paths(values: Any, prefix: str = "") -> Iterator[str]:
    """Every path of values.yaml, down to where the schema hands on."""
    for key, inner in values.items():
        yield prefix + key
        if isinstance(inner, dict) and key not in FREE:
            yield from paths(inner, f"{prefix}{key}.")


def objects(schema: Schema, name: str) -> Iterator[tuple[str, Schema]]:
    """Every schema of a map, with the name of the value that it describes."""
    if schema.get("type") == "object":
        yield name, schema
    for key, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{name}.{key}")
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], name)


def test_every_value_is_in_the_schema_and_every_property_has_a_default() -> None:
    described = {value.path for value in chart_values()}
    given = set(paths(DEFAULTS))
    assert (given - described, described - given) == (set(), set())


@pytest.mark.parametrize("value", chart_values(), ids=lambda value: value.path)
def test_a_value_says_its_type_and_what_it_means(value: Value) -> None:
    assert {"type", "enum", "anyOf"} & value.schema.keys(), "no type"
    assert value.schema.get("description", "").endswith("."), "no description that is a sentence"


@pytest.mark.parametrize("value", [v for v in chart_values() if not v.is_section], ids=lambda value: value.path)
def test_a_value_of_another_type_is_refused(value: Value) -> None:
    others: list[Any] = [True, 7.5, "?", [7], {"key": [7]}]
    taken = [other for other in others if Draft202012Validator(value.schema).is_valid(other)]
    assert len(taken) <= 1, f"takes all of {taken}"


def test_nothing_but_what_kubernetes_describes_is_open() -> None:
    for path, schema in objects(SCHEMA, ""):
        handed_on = path.rpartition(".")[2] in FREE and "properties" not in schema
        assert schema.get("additionalProperties") is False or handed_on, f"{path or 'the root'} lets anything in"


def test_the_schema_is_what_its_source_says() -> None:
    assert (CHART / "values.schema.json").read_text() == schema_json(), "run `make chart-docs`"


def test_the_defaults_fit_the_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(DEFAULTS)


def test_the_schema_says_its_dialect() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", ["", *(v.path for v in chart_values() if v.is_section)])
def test_an_unknown_key_is_refused_and_named(path: str) -> None:
    said = refusal(values=nested(f"{path}.surprise".lstrip("."), 1))
    assert "additional properties 'surprise' not allowed" in said
    assert path.replace(".", "/") in said
