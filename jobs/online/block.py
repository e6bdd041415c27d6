"""A batch of entities as commands for Redis and as the replies that prove them written."""

from dataclasses import dataclass

import mmh3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.online.column_encoding import (
    binaries,
    booleans,
    by_length,
    constant,
    encode_keys,
    encode_timestamps,
    encode_values,
    flags,
    integers,
    join,
    microseconds,
)
from jobs.online.encoding import ENTITYLESS_VALUE, entity_key_value
from jobs.online.entity_group import EntityGroup

Flags = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Micros = npt.NDArray[np.int64]
NO_ROW = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Block:
    """n entities of one group; the arrays hold a binary value for each."""

    keys: pa.Array
    writes: pa.Array
    """HSET of what the entity holds, then HDEL of each view that it has no row of."""
    reads: pa.Array
    """HMGET of all fields of the group."""
    held: pa.Array
    """What Redis replies to `reads` once `writes` were done."""
    as_of: Micros
    """n x views: the as_of of the entity's row, in microseconds since 1970; NO_ROW where it has none."""
    digests: Hashes
    """For each view the sum, modulo 2**64, of the hashes of its rows."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Block":
        """The block of some of its entities; its digests are those of all."""
        place = integers(rows)
        return Block(
            self.keys.take(place),
            self.writes.take(place),
            self.reads.take(place),
            self.held.take(place),
            self.as_of[rows],
            self.digests,
        )

    @property
    def is_present(self) -> Flags:
        """n x views: whether the entity has a row of the view."""
        return np.not_equal(self.as_of, NO_ROW)

    @property
    def commands(self) -> npt.NDArray[np.int64]:
        """Of each reply to `writes` which view's HDEL it answers, counted from 1; 0 for an HSET."""
        is_sent = np.column_stack([np.ones(len(self.keys), bool), ~self.is_present])
        return np.nonzero(is_sent)[1]


class BlockEncoder:
    """Makes blocks of batches with the columns of `current_entities_query`: join keys, then each view's."""

    def __init__(self, group: EntityGroup) -> None:
        self._group = group
        self._project = constant(group.project.encode())
        self._all_fields = b"".join(map(bulk, group.fields))

    def encode(self, batch: pa.RecordBatch) -> Block:
        """Raises DataError where a value does not fit its definition."""
        group, columns = self._group, iter(batch.columns)
        keys = self._keys([next(columns) for _ in group.join_keys], batch.num_rows)
        named = named_keys(keys)
        held, sets, instants, digests = [], [], [], []
        for view, fields in zip(group.views, group.fields_of, strict=True):
            values = [
                encode_values(next(columns), feature.type, f"feature {view.name}:{feature.name}")
                for feature in view.features
            ]
            as_of = next(columns)
            values.append(encode_timestamps(as_of))
            is_present = flags(as_of.is_valid())
            instants.append(np.where(is_present, microseconds(as_of), NO_ROW))
            replies, arguments = _bulks(values, fields)
            digests.append(_digest(keys, replies, is_present))
            if not is_present.all():
                replies = pc.if_else(booleans(is_present), replies, constant(b"$-1\r\n" * len(fields)))
                arguments = pc.if_else(booleans(is_present), arguments, constant(b""))
            held.append(replies)
            sets.append(arguments)
        as_ofs = np.column_stack(instants)
        count = len(group.fields)
        return Block(
            keys=keys,
            writes=self._writes(named, sets, as_ofs != NO_ROW),
            reads=join(constant(b"*%d\r\n$5\r\nHMGET\r\n" % (2 + count)), named, constant(self._all_fields)),
            held=join(constant(b"*%d\r\n" % count), *held),
            as_of=as_ofs,
            digests=np.array(digests, np.uint64),
        )

    def _keys(self, columns: list[pa.Array], count: int) -> pa.Array:
        group = self._group
        if not columns:
            key = group.prefix + entity_key_value(ENTITYLESS_VALUE, "STRING") + group.project.encode()
            return binaries([key] * count)
        types, names = zip(*((key.type, key.name) for key in group.join_keys), strict=True)
        return join(encode_keys(columns, types, names, group.prefix), self._project)

    def _writes(self, named: pa.Array, sets: list[pa.Array], is_present: Flags) -> pa.Array:
        fields_of = self._group.fields_of
        counts = is_present @ np.array([len(fields) for fields in fields_of])
        heads = [b"*%d\r\n$4\r\nHSET\r\n" % (2 + 2 * count) for count in range(int(counts.max(initial=0)) + 1)]
        parts = [binaries(heads).take(integers(counts)), named, *sets]
        for place, fields in enumerate(fields_of):
            is_absent = ~is_present[:, place]
            if is_absent.any():
                head = constant(b"*%d\r\n$4\r\nHDEL\r\n" % (2 + len(fields)))
                removal = join(head, named, constant(b"".join(map(bulk, fields))))
                parts.append(pc.if_else(booleans(is_absent), removal, constant(b"")))
        return join(*parts)


def named_keys(keys: pa.Array) -> pa.Array:
    """Each key as a RESP bulk string."""
    return join(by_length(keys, lambda length: b"$%d\r\n" % length), keys, constant(b"\r\n"))


def bulk(value: bytes) -> bytes:
    """A RESP bulk string. Source: Redis serialization protocol specification."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


def hashes(values: pa.Array) -> Hashes:
    """The first 8 bytes of each value's MurmurHash3_x64_128."""
    return hashes_of(values.to_pylist())


def hashes_of(values: list[bytes]) -> Hashes:
    """The same, of a list."""
    return np.frombuffer(b"".join(map(mmh3.mmh3_x64_128_digest, values)), "<u8")[::2]


def _bulks(values: list[pa.Array], fields: tuple[bytes, ...]) -> tuple[pa.Array, pa.Array]:
    """The values as bulk strings, one behind the other; and the same with each field's name before its value."""
    line = constant(b"\r\n")
    alone: list[pa.Array | pa.Scalar] = []
    named: list[pa.Array | pa.Scalar] = []
    for field, value in zip(fields, values, strict=True):
        length = by_length(value, lambda length: b"$%d\r\n" % length)
        alone += [length, value, line]
        named += [constant(bulk(field)), length, value, line]
    return join(*alone), join(*named)


def _digest(keys: pa.Array, replies: pa.Array, is_present: Flags) -> np.uint64:
    rows = join(keys, replies)
    if not is_present.all():
        rows = rows.filter(booleans(is_present))
    return np.uint64(hashes(rows).sum(dtype=np.uint64))
