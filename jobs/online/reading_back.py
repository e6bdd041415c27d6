"""Reading blocks back from Redis, to see whether it holds what it should."""

import time

from jobs.errors import VerificationError
from jobs.online.block import Block
from jobs.online.columns import content
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.wire import Wire

Replies = list[list[bytes | None]]


class ReadingBack:
    """Asks for whole hashes, which costs Redis half, and field by field from when others are found to live in them."""

    def __init__(self, group: EntityGroup) -> None:
        self._group = group
        self.asks_whole = True

    def read(self, wire: Wire, block: Block, filled: Filled) -> Replies | None:
        """What Redis holds of the block's fields; None where that is what it should hold."""
        if self.asks_whole:
            wire.send(content(block.whole_reads))
            if self.is_whole(wire, block, filled):
                return None
        started = time.monotonic()
        wire.send(content(block.reads))
        replies = wire.differing(content(block.held), len(block.keys))
        filled.verifying_seconds += time.monotonic() - started
        if replies is None:  # the hashes hold others' fields too, or ours in another order: so will the next
            self.asks_whole = False
        return replies

    def is_whole(self, wire: Wire, block: Block, filled: Filled) -> bool:
        """Whether the next replies, to `whole_reads`, are what they should be, and nothing beside it."""
        started = time.monotonic()
        equals = wire.equals(content(block.whole), len(block.keys))
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
