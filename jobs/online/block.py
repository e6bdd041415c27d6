"""A batch of entities as commands for Redis, and as the replies that prove them written."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.online.column_encoding import Micros
from jobs.online.columns import binaries, booleans, by_length, constant, integers, join
from jobs.online.encoded_column import EncodedColumn, Flags
from jobs.online.entity_group import EntityGroup
from jobs.online.hashing import Hashes

END = b"\r\n"
NO_ROW = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Block:
    """n entities of one group; the arrays hold a binary value for each."""

    group: EntityGroup
    keys: pa.Array
    key_hashes: Hashes
    as_of: Micros
    """n x views: the as_of of the entity's row, in microseconds since 1970; NO_ROW where it has none."""
    columns: tuple[tuple[EncodedColumn, ...], ...]
    """For each view its fields' values; whatever they are where the entity has no row of the view."""
    named_values: pa.Array
    """For all views each field's name and value as RESP bulk strings; nothing for a view that there is no row of."""
    digests: Hashes
    """For each view the sum, modulo 2**64, of the hashes of its rows."""
    defaulted: npt.NDArray[np.int64]
    """For each view how many elements of lists are NULL in the source and a default value here."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Block":
        """The block of some of its entities; what is told of each view is that of all."""
        place = integers(rows)
        return Block(
            self.group,
            self.keys.take(place),
            self.key_hashes[rows],
            self.as_of[rows],
            tuple(tuple(column.take(rows) for column in columns) for columns in self.columns),
            self.named_values.take(place),
            self.digests,
            self.defaulted,
        )

    @cached_property
    def is_present(self) -> Flags:
        """n x views: whether the entity has a row of the view."""
        return np.not_equal(self.as_of, NO_ROW)

    @cached_property
    def writes(self) -> pa.Array:
        """HSET of what the entity holds, then HDEL of each view that it has no row of."""
        parts = [self._by_fields(b"*%d\r\n$4\r\nHSET\r\n", 2, 2), self._named, self.named_values]
        for place, fields in enumerate(self.group.fields_of):
            is_absent = ~self.is_present[:, place]
            if is_absent.any():
                head, names = b"*%d\r\n$4\r\nHDEL\r\n" % (2 + len(fields)), b"".join(map(bulk, fields))
                removal = join(constant(head), self._named, constant(names))
                parts.append(pc.if_else(booleans(is_absent), removal, constant(b"")))
        return join(*parts)

    @property
    def answered(self) -> npt.NDArray[np.int64]:
        """Of each reply to `writes` which view's HDEL it answers, counted from 1; 0 for an HSET."""
        is_sent = np.column_stack([np.ones(len(self.keys), bool), ~self.is_present])
        return np.nonzero(is_sent)[1]

    @property
    def whole_reads(self) -> pa.Array:
        """HGETALL: half of what `reads` costs Redis."""
        return join(constant(b"*2\r\n$7\r\nHGETALL\r\n"), self._named)

    @property
    def whole(self) -> pa.Array:
        """The replies to `whole_reads` once `writes` were done, where nothing else is in the hashes."""
        return join(self._by_fields(b"*%d\r\n", 2, 0), self.named_values)

    @property
    def value_reads(self) -> pa.Array:
        """HVALS: half of what `whole_reads` costs Redis, and enough behind `writes`, which make the fields be there."""
        return join(constant(b"*2\r\n$5\r\nHVALS\r\n"), self._named)

    @property
    def whole_values(self) -> pa.Array:
        """The replies to `value_reads` behind `writes`, where nothing else is in the hashes."""
        parts: list[pa.Array | pa.Scalar] = []
        for place, columns in enumerate(self.columns):
            parts += masked(bulk_parts(columns, [b""] * len(columns)), self.is_present[:, place])
        return join(self._by_fields(b"*%d\r\n", 1, 0), *parts)

    @property
    def reads(self) -> pa.Array:
        """HMGET of all fields of the group."""
        fields = self.group.fields
        head, names = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(fields)), b"".join(map(bulk, fields))
        return join(constant(head), self._named, constant(names))

    @property
    def held(self) -> pa.Array:
        """The replies to `reads` once `writes` were done."""
        parts: list[pa.Array | pa.Scalar] = [constant(b"*%d\r\n" % len(self.group.fields))]
        for place, columns in enumerate(self.columns):
            is_present = self.is_present[:, place]
            replies = join(*(bulks(column.values()) for column in columns))
            if not is_present.all():
                replies = pc.if_else(booleans(is_present), replies, constant(b"$-1\r\n" * len(columns)))
            parts.append(replies)
        return join(*parts)

    @cached_property
    def _named(self) -> pa.Array:
        return bulks(self.keys)

    def _by_fields(self, head: bytes, each: int, more: int) -> pa.Array | pa.Scalar:
        """`head` with the number of the entity's fields, so many for `each`, and so many more."""
        counts = self.is_present @ np.array([each * len(fields) for fields in self.group.fields_of])
        if (counts == counts[:1]).all():
            return constant(head % (counts[0] + more))
        heads = binaries([head % (count + more) for count in range(int(counts.max(initial=0)) + 1)])
        return heads.take(integers(counts))


def bulk_parts(columns: Sequence[EncodedColumn], before: Sequence[bytes]) -> list[pa.Array | pa.Scalar]:
    """Parts that are, row by row, what stands `before` each column's value and the value as a bulk string."""
    parts: list[pa.Array | pa.Scalar] = []
    end = b""
    for column, text in zip(columns, before, strict=True):
        if column.is_valid is None:
            # As few parts as there can be: all that stands before the contents is a matter of their length.
            parts += [by_length(column.contents, partial(_before_contents, end + text, column)), column.contents]
        else:
            values = column.values()
            parts += [constant(end + text), bulk_heads(values), values]
        end = END
    return [*parts, constant(end)]


def masked(parts: list[pa.Array | pa.Scalar], is_present: Flags) -> list[pa.Array | pa.Scalar]:
    """The parts; nothing in rows that are not present."""
    return parts if is_present.all() else [pc.if_else(booleans(is_present), join(*parts), constant(b""))]


def bulks(values: pa.Array) -> pa.Array:
    """Each value as a RESP bulk string."""
    return join(bulk_heads(values), values, constant(END))


def bulk_heads(values: pa.Array) -> pa.Array | pa.Scalar:
    """What stands before each value in a RESP bulk string."""
    return by_length(values, bulk_head)


def bulk(value: bytes) -> bytes:
    """A RESP bulk string. Source: Redis serialization protocol specification."""
    return bulk_head(len(value)) + value + END


def command(*parts: bytes) -> bytes:
    """A command for Redis."""
    return b"*%d\r\n" % len(parts) + b"".join(map(bulk, parts))


def bulk_head(length: int) -> bytes:
    """What stands before a value of so many bytes in a RESP bulk string."""
    return b"$%d\r\n" % length


def _before_contents(before: bytes, column: EncodedColumn, length: int) -> bytes:
    head = column.head(length)
    return before + bulk_head(len(head) + length) + head
