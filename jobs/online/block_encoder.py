"""Makes blocks of what Postgres hands out."""

import numpy as np
import pyarrow as pa

from jobs.online.block import NO_ROW, Block, bulk, bulk_parts, masked
from jobs.online.column_encoding import encode_keys, encode_timestamps, encode_values, epoch_micros
from jobs.online.columns import binaries, constant, flags, join
from jobs.online.encoded_column import EncodedColumn, Flags
from jobs.online.encoding import ENTITYLESS_VALUE, entity_key_value
from jobs.online.entity_group import EntityGroup
from jobs.online.hashing import Hashes, hashes, mixed


class BlockEncoder:
    """Encodes batches with the columns of `current_entities_query`: join keys, then each view's."""

    def __init__(self, group: EntityGroup) -> None:
        self._group = group
        self._project = constant(group.project.encode())

    def encode(self, batch: pa.RecordBatch) -> Block:
        """Raises DataError where a value does not fit its definition."""
        group, columns = self._group, iter(batch.columns)
        keys = self._keys([next(columns) for _ in group.join_keys], batch.num_rows)
        key_hashes = hashes(keys)
        encoded, named_values, instants, digests = [], list[pa.Array | pa.Scalar](), [], []
        defaulted = []
        for view, fields in zip(group.views, group.fields_of, strict=True):
            values = [
                encode_values(next(columns), feature.type, f"feature {view.name}:{feature.name}")
                for feature in view.features
            ]
            as_of = next(columns)
            micros, is_present = epoch_micros(as_of), flags(as_of.is_valid())
            values.append(encode_timestamps(micros))
            named_values += masked(bulk_parts(values, [bulk(field) for field in fields]), is_present)
            digests.append(_digest(key_hashes, values, is_present))
            defaulted.append(sum(value.defaulted for value in values))
            encoded.append(tuple(values))
            instants.append(np.where(is_present, micros, NO_ROW))
        return Block(
            group,
            keys,
            key_hashes,
            np.column_stack(instants),
            tuple(encoded),
            join(*named_values),
            np.array(digests, np.uint64),
            np.array(defaulted, np.int64),
        )

    def _keys(self, columns: list[pa.Array], count: int) -> pa.Array:
        group = self._group
        if not columns:
            key = group.prefix + entity_key_value(ENTITYLESS_VALUE, "STRING") + group.project.encode()
            return binaries([key] * count)
        types, names = zip(*((key.type, key.name) for key in group.join_keys), strict=True)
        return join(encode_keys(columns, types, names, group.prefix), self._project)


def _digest(key_hashes: Hashes, columns: list[EncodedColumn], is_present: Flags) -> np.uint64:
    rows = key_hashes.copy()
    for place, column in enumerate(columns, start=1):
        rows += column.hashes(place)
    return np.uint64(mixed(rows)[is_present].sum(dtype=np.uint64))
