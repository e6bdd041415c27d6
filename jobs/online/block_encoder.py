"""Makes blocks of what Postgres hands out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.online.block import NO_ROW, Block, Flags, bulk, bulk_head, hashes
from jobs.online.column_encoding import (
    binaries,
    booleans,
    constant,
    encode_keys,
    encode_timestamps,
    encode_values,
    flags,
    join,
    microseconds,
)
from jobs.online.encoding import ENTITYLESS_VALUE, entity_key_value
from jobs.online.entity_group import EntityGroup


class BlockEncoder:
    """Encodes batches with the columns of `current_entities_query`: join keys, then each view's."""

    def __init__(self, group: EntityGroup) -> None:
        self._group = group
        self._project = constant(group.project.encode())

    def encode(self, batch: pa.RecordBatch) -> Block:
        """Raises DataError where a value does not fit its definition."""
        group, columns = self._group, iter(batch.columns)
        keys = self._keys([next(columns) for _ in group.join_keys], batch.num_rows)
        values, named_values, instants, digests = [], [], [], []
        for view, fields in zip(group.views, group.fields_of, strict=True):
            encoded = [
                encode_values(next(columns), feature.type, f"feature {view.name}:{feature.name}")
                for feature in view.features
            ]
            as_of = next(columns)
            encoded.append(encode_timestamps(as_of))
            is_present = flags(as_of.is_valid())
            named = _named(encoded, fields)
            digests.append(_digest(keys, named, is_present))
            if not is_present.all():
                named = pc.if_else(booleans(is_present), named, constant(b""))
            values.append(tuple(encoded))
            named_values.append(named)
            instants.append(np.where(is_present, microseconds(as_of), NO_ROW))
        return Block(
            group, keys, np.column_stack(instants), tuple(values), join(*named_values), np.array(digests, np.uint64)
        )

    def _keys(self, columns: list[pa.Array], count: int) -> pa.Array:
        group = self._group
        if not columns:
            key = group.prefix + entity_key_value(ENTITYLESS_VALUE, "STRING") + group.project.encode()
            return binaries([key] * count)
        types, names = zip(*((key.type, key.name) for key in group.join_keys), strict=True)
        return join(encode_keys(columns, types, names, group.prefix), self._project)


def _named(values: list[pa.Array], fields: tuple[bytes, ...]) -> pa.Array:
    """Each field's name and value as bulk strings, one behind the other."""
    parts: list[pa.Array | pa.Scalar] = []
    for field, value in zip(fields, values, strict=True):
        parts += [constant(bulk(field)), bulk_head(value), value, constant(b"\r\n")]
    return join(*parts)


def _digest(keys: pa.Array, named: pa.Array, is_present: Flags) -> np.uint64:
    rows = join(keys, named)
    if not is_present.all():
        rows = rows.filter(booleans(is_present))
    return np.uint64(hashes(rows).sum(dtype=np.uint64))
