"""Feast's connection string for Redis: `host:port[,host:port...][,name=value...]`, each value JSON where it parses."""

import json
from collections.abc import Mapping
from typing import Any

# Within a JSON text these may be written as escapes. A comma would end the value for Feast, and what stands in
# feature_store.yaml without quotes ends at " #" and may not hold ": ".
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in ",:#"}


def split(text: str) -> tuple[list[str], dict[str, Any]]:
    """The nodes and the options of a connection string, as Feast 0.67 reads them."""
    parts = text.split(",")
    options = dict(part.split("=", 1) for part in parts if "=" in part)
    return [part for part in parts if "=" not in part], {name: _value(value) for name, value in options.items()}


def with_options(text: str, options: Mapping[str, str]) -> str:
    """The connection string `text` with these texts as options; Feast reads each as it is, also one of digits."""
    return ",".join([text, *(f"{name}={_quoted(value)}" for name, value in options.items())])


def _quoted(value: str) -> str:
    return json.dumps(value).translate(_ESCAPES)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
