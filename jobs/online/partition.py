"""One partition of a materialization: from Postgres to Redis as a stream, each block proven before the next."""

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.arrow_query import ArrowSession
from jobs.background import ahead_of
from jobs.errors import VerificationError
from jobs.online.block import Block, Hashes, bulk, hashes
from jobs.online.block_encoder import BlockEncoder
from jobs.online.column_encoding import content
from jobs.online.entity_group import EntityGroup
from jobs.online.wire import Wire, Wires

# So many batches may wait before the encoder, and so many blocks before the writer: the bound of what is in memory.
AHEAD = 2
Counts = npt.NDArray[np.int64]


@dataclass
class Filled:
    """What a partition did; the arrays hold a number for each view of the group."""

    rows: Counts
    written: Counts
    removed: Counts
    digests: Hashes
    """The sums, modulo 2**64, of the hashes of the rows; in whatever order and partitions they were read."""
    keys: list[Hashes] = field(default_factory=list)
    """The hashes of the entities' Redis keys: 8 bytes an entity."""
    verifying_seconds: float = 0.0

    @staticmethod
    def nothing(views: int) -> "Filled":
        """Where the counting starts."""
        zero = np.zeros(views, np.int64)
        return Filled(zero, zero.copy(), zero.copy(), np.zeros(views, np.uint64))

    def __iadd__(self, other: "Filled") -> "Filled":
        self.rows += other.rows
        self.written += other.written
        self.removed += other.removed
        self.digests += other.digests
        self.keys += other.keys
        self.verifying_seconds += other.verifying_seconds
        return self


class PartitionFiller:
    """Writes the entities of one group to Redis, as they stream out of Postgres, and reads each back."""

    def __init__(
        self,
        group: EntityGroup,
        wires: Wires,
        before_write: Callable[[], None],
        *,
        compare: bool,
        select: Callable[[Wire, Block], Block] | None = None,
    ) -> None:
        """`before_write` raises when nothing may be written any more.

        With `compare`, what Redis holds already is read first and left alone: the way where little has changed.
        `select` says which entities of a block are written, if not all.
        """
        self._group, self._wires, self._before_write, self._compare = group, wires, before_write, compare
        self._select = select
        self._reads_whole = True

    def fill(self, session: ArrowSession, query: str, advance: Callable[[int], object]) -> Filled:
        """Fill what `query` gives; `advance` is told of rows as they are proven.

        Raises DataError for a value that does not fit, VerificationError when Redis does not hold what was written.
        """
        filled = Filled.nothing(len(self._group.views))
        with (
            ahead_of(session.batches(query), AHEAD, session.cancel) as batches,
            ahead_of(_encoded(batches, BlockEncoder(self._group)), AHEAD, session.cancel) as blocks,
        ):
            for block in blocks:
                for wire, rows in self._wires.split(block.keys):
                    self._fill_block(wire, block if rows is None else block.take(rows), filled)
                rows_of_views = block.is_present.sum(axis=0)
                filled.rows += rows_of_views
                filled.digests += block.digests
                filled.keys.append(hashes(block.keys))
                advance(int(rows_of_views.sum()))
        return filled

    def _fill_block(self, wire: Wire, block: Block, filled: Filled) -> None:
        if self._select is not None:
            block = self._select(wire, block)
        if self._compare:
            replies = self._read(wire, block, filled)
            if replies is None:
                return
            self._write_differences(wire, block, replies, filled)
        else:
            self._write_all(wire, block, filled)
        if self._read(wire, block, filled) is not None:
            names = ", ".join(view.name for view in self._group.views)
            raise VerificationError(
                f"the online store holds other values than were just written ({names}); something else writes there. "
                "Run it again"
            )

    def _read(self, wire: Wire, block: Block, filled: Filled) -> list[list[bytes | None]] | None:
        """What Redis holds; None where that is what it should hold."""
        started = time.monotonic()
        try:
            if self._reads_whole:
                wire.send(content(block.whole_reads))
                if wire.differing(content(block.whole), len(block.keys)) is None:
                    return None
            wire.send(content(block.reads))
            replies = wire.differing(content(block.held), len(block.keys))
            if replies is None:  # the hashes hold others' fields too, or ours in another order: so will the next
                self._reads_whole = False
            return replies
        finally:
            filled.verifying_seconds += time.monotonic() - started

    def _write_all(self, wire: Wire, block: Block, filled: Filled) -> None:
        self._before_write()
        wire.send(content(block.writes))
        answered = block.answered
        replies = np.array(wire.replies(len(answered)), np.int64)
        filled.written += block.is_present.sum(axis=0)
        for place in range(len(self._group.views)):
            filled.removed[place] += int(np.count_nonzero(replies[answered == place + 1]))

    def _write_differences(self, wire: Wire, block: Block, replies: list[list[bytes | None]], filled: Filled) -> None:
        """Only what differs is written, view by view: a correction touches few entities."""
        commands: list[bytes] = []
        for key, before, wanted in zip(block.keys.to_pylist(), replies, _parsed(block.held), strict=True):
            if before != wanted:
                commands += self._changes(key, before, wanted, filled)
        self._before_write()
        wire.send(memoryview(b"".join(commands)))
        wire.replies(len(commands))

    def _changes(
        self, key: bytes, before: list[bytes | None], wanted: list[bytes | None], filled: Filled
    ) -> Iterable[bytes]:
        start = 0
        for place, fields in enumerate(self._group.fields_of):
            here = slice(start, start := start + len(fields))
            if before[here] == wanted[here]:
                continue
            if wanted[here][-1] is None:
                filled.removed[place] += 1
                yield _command(b"HDEL", key, *fields)
            else:
                filled.written[place] += 1
                pairs = zip(fields, wanted[here], strict=True)
                yield _command(b"HSET", key, *(part or b"" for pair in pairs for part in pair))


def _encoded(batches: Iterable[pa.RecordBatch], encoder: BlockEncoder) -> Generator[Block, None, None]:
    for batch in batches:
        if batch.num_rows:
            yield encoder.encode(batch)


def _parsed(held: pa.Array) -> list[list[bytes | None]]:
    reader = hiredis.Reader()
    reader.feed(bytes(content(held)))
    return [reader.gets() for _ in range(len(held))]


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(map(bulk, parts))
