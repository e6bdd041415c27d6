"""Values as Feast's own protobuf class writes them."""

import math
from datetime import datetime
from typing import Any

from feast.protos.feast.types.Value_pb2 import Value


def message(value_type: str, value: Any) -> bytes:
    """`value`, of Feast's ValueType of that name, as a serialized `feast.types.Value`; no bytes for None."""
    if value is None:
        return b""
    found = Value()
    field = f"{value_type.lower()}_val"
    if value_type.endswith("_LIST"):
        getattr(found, field).SetInParent()
        getattr(found, field).val.extend(map(_plain, value))
    else:
        setattr(found, field, _plain(value))
    return bytes(found.SerializeToString())


def _plain(value: Any) -> Any:
    return math.floor(value.timestamp()) if isinstance(value, datetime) else value
