"""From what a caller sends as a join key to the key of that entity's hash in Redis (Feast's serialization v3)."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from api.problems import InvalidRequest

KeyType = Literal["BYTES", "STRING", "INT32", "INT64", "UNIX_TIMESTAMP"]
MAX_KEY_BYTES = 1024
_U32 = struct.Struct("<I")
_STRING = _U32.pack(2)
# value type number, struct format, least and greatest value
_INTEGERS = {
    "INT32": (3, "<i", -(2**31), 2**31 - 1),
    "INT64": (4, "<q", -(2**63), 2**63 - 1),
    "UNIX_TIMESTAMP": (8, "<q", -(2**63), 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class JoinKey:
    """A join key of a feature view: its name and Feast value type."""

    name: str
    type: KeyType


# What Feast stores a view without entities under.
ENTITY_LESS = JoinKey("__dummy_id", "STRING")


def parse(key: JoinKey, sent: Any, numbers_as_text: bool = False) -> str | int:
    """The value that `sent` (JSON, or the text of a path) names; InvalidRequest if it is none.

    STRING is text, BYTES base64 text, the others whole numbers or their decimal text.
    `numbers_as_text` also takes a whole number for a STRING key, as Feast's feature server does.
    """
    if key.type in _INTEGERS:
        return _integer(key, sent)
    if numbers_as_text and key.type == "STRING" and type(sent) is int:
        return str(sent)
    if not isinstance(sent, str):
        raise InvalidRequest(f"{key.name} must be text, not {_kind(sent)}.")
    if not sent:
        raise InvalidRequest(f"{key.name} must not be empty.")
    if len(_text_bytes(key, sent)) > MAX_KEY_BYTES:
        raise InvalidRequest(f"{key.name} must be at most {MAX_KEY_BYTES} bytes long.")
    return sent


def bounds(kind: str) -> tuple[int, int]:
    """The least and the greatest value of a key that is a whole number."""
    _, _, least, greatest = _INTEGERS[kind]
    return least, greatest


def prefix(keys: Sequence[JoinKey]) -> bytes:
    """The bytes before the first value: the number of join keys and their names, which must be sorted."""
    names = [key.name.encode() for key in keys]
    return _U32.pack(len(names)) + b"".join(_STRING + _U32.pack(len(name)) + name for name in names)


def encode_value(key: JoinKey, value: str | int) -> bytes:
    """One parsed value with its type and length in front."""
    if isinstance(value, int):
        number, form, _, _ = _INTEGERS[key.type]
        data = struct.pack(form, value)
        return _U32.pack(number) + _U32.pack(len(data)) + data
    data = _text_bytes(key, value)
    return (_STRING if key.type == "STRING" else _U32.pack(1)) + _U32.pack(len(data)) + data


def _text_bytes(key: JoinKey, text: str) -> bytes:
    try:
        return text.encode("utf-8") if key.type == "STRING" else base64.b64decode(text, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        wanted = "UTF-8 text" if key.type == "STRING" else "base64 text"
        raise InvalidRequest(f"{key.name} must be {wanted}.") from None


def _integer(key: JoinKey, sent: Any) -> int:
    least, greatest = bounds(key.type)
    if isinstance(sent, str) and len(sent) <= 20 and sent.removeprefix("-").isdecimal() and sent.isascii():
        sent = int(sent)
    if type(sent) is not int or not least <= sent <= greatest:
        raise InvalidRequest(f"{key.name} must be a whole number from {least} to {greatest}.")
    return sent


def _kind(sent: Any) -> str:
    if sent is None:
        return "null"
    return {bool: "true or false", int: "a number", float: "a number", list: "a list"}.get(type(sent), "an object")
