"""Pieces of answers that are made once and used again: values and timestamps as JSON, and until when rows are fresh."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from api import answers, instants, value
from api.selection import Stored

NULL = b"null"
"""This very object is the JSON of a value that is not there."""
FOR_EVER = 1 << 80
# How much is remembered: whatever callers ask for, memory may not grow by it. In entries, and bytes of a value.
REMEMBERED, TIMESTAMPS_REMEMBERED, LONGEST_REMEMBERED = 20_000, 500, 64


class Fragments(dict[bytes | None, bytes]):
    """Serialized value (None: no such field) to JSON, remembered: most features have few different values.

    MalformedValue for bytes that are no value.
    """

    def __init__(self, shown: Callable[[Any], Any]) -> None:
        """`shown` makes of a decoded value one that JSON knows."""
        super().__init__()
        self._shown = shown
        self.update({None: NULL, b"": NULL})

    def __missing__(self, data: bytes) -> bytes:
        decoded = value.decode(data)
        # A copy: orjson's own bytes hold on to the kilobyte that they were written into.
        json = NULL if decoded is None else b"%b" % orjson.dumps(self._shown(decoded))
        if len(data) > LONGEST_REMEMBERED:
            return json
        if len(self) >= REMEMBERED:
            self.clear()
            self.update({None: NULL, b"": NULL})
        self[data] = json
        return json


PLAIN, PROTOBUF = Fragments(answers.plain), Fragments(answers.protobuf_json)


class Limits(dict[tuple[bytes | None, ...], int]):
    """The timestamps of an entity's views to the instant until which all of them are fresh; -1 if one is missing."""

    def __init__(self, sources: Sequence[Stored], references: Mapping[str, int] | None) -> None:
        """`references`: what ages are counted from, or None for the clock."""
        super().__init__()
        self._sources, self._references = sources, references

    def __missing__(self, stamps: tuple[bytes | None, ...]) -> int:
        limit = min((self._limit(*pair) for pair in zip(self._sources, stamps, strict=True)), default=FOR_EVER)
        if len(self) >= TIMESTAMPS_REMEMBERED:
            self.clear()
        self[stamps] = limit
        return limit

    def _limit(self, source: Stored, stamp: bytes | None) -> int:
        if stamp is None:
            return -1
        expires = FOR_EVER if source.ttl is None else value.decode_timestamp(stamp) + source.ttl
        if self._references is None:
            return expires
        return FOR_EVER if self._references[source.view] <= expires else -1


class _Stamps(dict[bytes | None, bytes]):
    """Timestamps of rows that are there, as JSON."""

    def __missing__(self, stamp: bytes | None) -> bytes:
        if len(self) >= TIMESTAMPS_REMEMBERED:
            self.clear()
        json = self[stamp] = orjson.dumps(instants.to_text(value.decode_timestamp(stamp or b"")))
        return json


timestamp_json = _Stamps().__getitem__
