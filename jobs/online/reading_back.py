"""Reading blocks back from Redis, to see whether it holds what it should."""

import time

import pyarrow as pa

from jobs.errors import VerificationError
from jobs.online.block import Block
from jobs.online.columns import content
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.wire import Wire, Wires

Replies = list[list[bytes | None]]


def are_as_held(wires: Wires, block: Block) -> bool:
    """Whether Redis holds what it should of the block's fields, all of them asked for by name."""
    for wire, rows in wires.split(block.keys):
        part = block if rows is None else block.take(rows)
        wire.send(content(part.reads))
        if wire.differing(content(part.held), len(part.keys)) is not None:
            return False
    return True


class ReadingBack:
    """Asks in a way that costs Redis little, and field by field from when others are found to live in the hashes."""

    def __init__(self, group: EntityGroup) -> None:
        self._group = group
        self.asks_whole = True

    def read(self, wire: Wire, block: Block, filled: Filled) -> Replies | None:
        """What Redis holds of the block's fields; None where that is what it should hold."""
        if self.asks_whole:
            wire.send(content(block.whole_reads))
            if self.is_next(wire, block.whole, filled):
                return None
        started = time.monotonic()
        wire.send(content(block.reads))
        replies = wire.differing(content(block.held), len(block.keys))
        filled.verifying_seconds += time.monotonic() - started
        if replies is None:  # the hashes hold others' fields too, or ours in another order: so will the next
            self.asks_whole = False
        return replies

    def is_next(self, wire: Wire, expected: pa.Array, filled: Filled) -> bool:
        """Whether the next replies are these, and nothing beside it."""
        started = time.monotonic()
        equals = wire.equals(content(expected), len(expected))
        filled.verifying_seconds += time.monotonic() - started
        return equals

    def prove(self, wire: Wire, block: Block, filled: Filled) -> None:
        """Raises VerificationError unless Redis holds what it should."""
        if self.read(wire, block, filled) is not None:
            names = ", ".join(view.name for view in self._group.views)
            raise VerificationError(
                f"the online store holds other values than were just written ({names}); something else writes there. "
                "Run it again"
            )
