"""How a value of the offline store looks in the gateway's JSON."""

import base64
import math
import struct
from datetime import datetime
from typing import Any


def as_served(kind: str, value: Any) -> Any:
    """A value of Feast's ValueType `kind` as the gateway writes it: base64 for bytes, whole seconds since 1970 for

    instants, null for NULL, NaN and the infinities.
    """
    if value is None:
        return None
    if kind.endswith("_LIST"):
        return [_scalar(kind.removesuffix("_LIST"), item) for item in value]
    return _scalar(kind, value)


def _scalar(kind: str, value: Any) -> Any:
    match kind:
        case "DOUBLE" | "FLOAT":
            number = float(value) if kind == "DOUBLE" else struct.unpack("<f", struct.pack("<f", value))[0]
            return number if math.isfinite(number) else None
        case "BYTES":
            return base64.b64encode(value).decode()
        case "UNIX_TIMESTAMP":
            return math.floor(value.timestamp()) if isinstance(value, datetime) else int(value)
        case "STRING":
            return str(value)
        case "BOOL":
            return bool(value)
        case _:
            return int(value)
