"""Reading each block first, and writing what differs: the way where little is new."""

from collections.abc import Callable, Iterable

import hiredis
import pyarrow as pa

from jobs.online.block import Block, command
from jobs.online.columns import content
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.reading_back import ReadingBack, Replies
from jobs.online.wire import Wire


class Correction:
    """Leaves alone what is right already."""

    def __init__(self, group: EntityGroup, before_write: Callable[[], None]) -> None:
        """`before_write` raises when nothing may be written any more."""
        self._group, self._before_write = group, before_write
        self._reading = ReadingBack(group)

    def write(self, wire: Wire, block: Block, filled: Filled) -> None:
        """Write what differs, view by view, and prove the block. Raises VerificationError and redis.RedisError."""
        held = self._reading.read(wire, block, filled)
        if held is None:
            return
        commands: list[bytes] = []
        for key, before, wanted in zip(block.keys.to_pylist(), held, parsed(block.held), strict=True):
            if before != wanted:
                commands += self._changes(key, before, wanted, filled)
        self._before_write()
        wire.send(memoryview(b"".join(commands)))
        wire.replies(len(commands))
        self._reading.prove(wire, block, filled)

    def finish(self, filled: Filled) -> None:
        """Nothing is left to do."""

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
                yield command(b"HDEL", key, *fields)
            else:
                filled.written[place] += 1
                pairs = zip(fields, wanted[here], strict=True)
                yield command(b"HSET", key, *(part or b"" for pair in pairs for part in pair))


def parsed(held: pa.Array) -> Replies:
    """A block's `held` as values, for each entity those of all fields; None where it has none."""
    reader = hiredis.Reader()
    reader.feed(bytes(content(held)))
    return [reader.gets() for _ in range(len(held))]
