"""Writes what follows from values.schema.yaml: values.schema.json for Helm, and every value in the chart's README.

`python charts/document_values.py` replaces the whole of the one, and of the other what stands between its two markers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "feature-platform"
START = "<!-- values: written by `make chart-docs`; do not edit up to the end -->"
END = "<!-- end of values -->"

Schema = dict[str, Any]


# Helm gives this key to every chart; no template of ours reads it.
HELMS_OWN = "global"


@dataclass(frozen=True)
class Value:
    """One value of the chart: its dotted path, what the schema says of it, its default."""

    path: str
    schema: Schema
    default: Any

    @property
    def is_section(self) -> bool:
        """Whether it holds further values of the chart, rather than being set as a whole."""
        return "properties" in self.schema


def schema_json(chart: Path = CHART) -> str:
    """values.schema.json as the YAML source has it, without the parts that only serve to write it (`x-...`).

    Every key of a section is required: null takes a default away, and no template could do without it.
    """
    source = yaml.safe_load((chart / "values.schema.yaml").read_text())
    schema = _required({key: word for key, word in source.items() if not key.startswith("x-")})
    return json.dumps(schema, indent=2) + "\n"


def _required(schema: Schema) -> Schema:
    if "properties" not in schema:
        return schema
    properties = {key: _required(inner) for key, inner in schema["properties"].items()}
    return {**schema, "required": [key for key in properties if key != HELMS_OWN], "properties": properties}


def chart_values(chart: Path = CHART) -> list[Value]:
    """Every value of the chart, sections before what they hold, in the order of values.yaml."""
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    return [value for value in _walk(schema, defaults, "") if value.path != HELMS_OWN]


def _walk(schema: Schema, defaults: Any, prefix: str) -> Iterator[Value]:
    properties = schema["properties"]
    for key in sorted(properties, key=list({**defaults, **properties}).index):
        value = Value(prefix + key, properties[key], defaults.get(key))
        yield value
        if value.is_section:
            yield from _walk(value.schema, value.default or {}, f"{value.path}.")


def values_table(values: list[Value]) -> str:
    """A table of the values that stand alone, then one with a heading for each section."""
    alone = [value for value in values if "." not in value.path and not value.is_section]
    parts = [_table(alone)]
    for section in (value for value in values if "." not in value.path and value.is_section):
        inner = [value for value in values if value.path.startswith(f"{section.path}.")]
        parts.append(f"### {section.path}\n\n{section.schema['description']}\n\n{_table(inner)}")
    return "\n".join(parts)


def _table(values: list[Value]) -> str:
    return "| value | type | default | meaning |\n|---|---|---|---|\n" + "".join(_row(value) for value in values)


def _row(value: Value) -> str:
    meaning = str(value.schema["description"]).replace("\n", " ").replace("|", "\\|")
    if value.is_section:
        return f"| `{value.path}.*` | | | {meaning} |\n"
    return f"| `{value.path}` | {_type(value.schema)} | {_code(value.default)} | {meaning} |\n"


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(_code(choice) for choice in schema["enum"])
    kinds = [_type(choice) for choice in schema.get("anyOf", []) if "type" in choice] or [schema["type"]]
    return " or ".join(kinds)


def _code(value: Any) -> str:
    return f"`{json.dumps(value)}`".replace("|", "\\|")


def documented(readme: str, table: str) -> str:
    """The README with the table between its markers."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"README.md needs a line {START!r} and after it a line {END!r}")
    return f"{before}{START}\n\n{table}\n{END}{after}"


def main() -> None:
    """Write both files."""
    (CHART / "values.schema.json").write_text(schema_json())
    readme = CHART / "README.md"
    readme.write_text(documented(readme.read_text(), values_table(chart_values())))


if __name__ == "__main__":
    main()
