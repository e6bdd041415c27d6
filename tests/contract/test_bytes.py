"""Keys, values and timestamps: the bytes that the jobs write are those that the gateway asks for and understands."""

import base64
import json
import math
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from api import answers, entity_key, value
from api.entity_key import JoinKey
from api.fragments import PLAIN
from jobs.online.column_encoding import encode_keys, encode_timestamps, encode_values, epoch_micros
from jobs.online.encoding import (
    ENTITYLESS_JOIN_KEY,
    ENTITYLESS_VALUE,
    KEY_TYPES,
    VALUE_TYPES,
    entity_key_prefix,
    entity_key_value,
)
from jobs.online.served_value import as_served
from tests.unit.test_column_encoding import INSTANTS, SCALARS


def sent(kind: str, key: Any) -> Any:
    """A key as a caller sends it."""
    if kind == "BYTES":
        return base64.b64encode(key).decode()
    return math.floor(key.timestamp()) if kind == "UNIX_TIMESTAMP" else key


def can_be_asked_for(kind: str, key: Any) -> bool:
    """The gateway takes a key of 1 to 1024 bytes."""
    length = len(key.encode()) if kind == "STRING" else len(key) if kind == "BYTES" else 1
    return 1 <= length <= entity_key.MAX_KEY_BYTES


@settings(deadline=None)
@given(
    st.data(),
    st.dictionaries(st.text(min_size=1, max_size=20), st.sampled_from(sorted(KEY_TYPES)), min_size=1, max_size=3),
)
def test_the_gateway_asks_for_any_key_by_the_bytes_that_the_jobs_wrote(
    data: st.DataObject, keys: dict[str, str]
) -> None:
    names = sorted(keys)
    types = [keys[name] for name in names]
    row = tuple(data.draw(SCALARS[kind][1].filter(partial(can_be_asked_for, kind))) for kind in types)
    columns = [pa.array([key], SCALARS[kind][0]) for key, kind in zip(row, types, strict=True)]
    [written] = encode_keys(columns, types, names, entity_key_prefix(names)).to_pylist()
    join_keys = [JoinKey(name, kind) for name, kind in zip(names, types, strict=True)]  # type: ignore[arg-type]
    values = [entity_key.parse(key, sent(key.type, item)) for key, item in zip(join_keys, row, strict=True)]
    asked = b"".join(entity_key.encode_value(*pair) for pair in zip(join_keys, values, strict=True))
    assert entity_key.prefix(join_keys) + asked == written


def test_the_gateway_asks_for_the_key_of_a_view_without_entities_by_the_bytes_that_the_jobs_wrote() -> None:
    written = entity_key_prefix([ENTITYLESS_JOIN_KEY]) + entity_key_value(ENTITYLESS_VALUE, "STRING")
    key = entity_key.ENTITY_LESS
    assert entity_key.prefix([key]) + entity_key.encode_value(key, "") == written


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(VALUE_TYPES)))
def test_the_gateway_shows_any_value_that_the_jobs_wrote_as_what_it_was(data: st.DataObject, kind: str) -> None:
    arrow, items = SCALARS[kind.removesuffix("_LIST")]
    if kind.endswith("_LIST"):
        arrow, items = pa.list_(arrow), st.lists(items, max_size=5)
    column = data.draw(st.lists(st.none() | items, max_size=10))
    for item, written in zip(
        column, encode_values(pa.array(column, arrow), kind, "it").values().to_pylist(), strict=True
    ):
        expected = as_served(kind, item)
        # As text 1, 1.0 and true differ, and floats keep all their digits.
        assert json.dumps(answers.plain(value.decode(written))) == json.dumps(expected)
        assert PLAIN[written] == orjson.dumps(expected), "and by the short way"


@settings(deadline=None)
@given(st.lists(INSTANTS, min_size=1, max_size=10))
def test_the_gateway_reads_any_as_of_that_the_jobs_wrote(instants: list[datetime]) -> None:
    micros = epoch_micros(pa.array(instants, pa.timestamp("us", tz="UTC")))
    written = encode_timestamps(micros).values().to_pylist()
    assert [value.decode_timestamp(one) for one in written] == [1000 * int(one) for one in micros]
