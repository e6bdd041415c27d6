"""Writing all of each block: the way where everything is new."""

from collections.abc import Callable

import numpy as np

from jobs.online.block import Block
from jobs.online.columns import content
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.reading_back import ReadingBack
from jobs.online.wire import Wire

Select = Callable[[Wire, Block], Block]


class Load:
    """Sends a block, and what reads it back, before it takes the replies to the one before: Redis is never idle."""

    def __init__(self, group: EntityGroup, before_write: Callable[[], None], select: Select | None) -> None:
        """`before_write` raises when nothing may be written any more; `select` says what of a block is, if not all."""
        self._reading = ReadingBack(group)
        self._before_write, self._select = before_write, select
        self._sent: dict[Wire, Block] = {}

    def write(self, wire: Wire, block: Block, filled: Filled) -> None:
        """Write the block, and prove the one before. Raises VerificationError and redis.RedisError."""
        if self._select is not None:
            self._prove_sent(wire, filled)
            block = self._select(wire, block)
        self._before_write()
        wire.send(content(block.writes))
        if not self._reading.asks_whole:
            self._take_replies(wire, block, filled)
            self._reading.prove(wire, block, filled)
            return
        wire.send(content(block.value_reads))
        before = self._sent.get(wire)
        self._sent[wire] = block
        if before is not None and not self._is_as_sent(wire, before, filled):
            self._prove_sent(wire, filled)  # its replies come first
            self._reading.prove(wire, before, filled)

    def finish(self, filled: Filled) -> None:
        """Prove what was written last."""
        for wire in list(self._sent):
            self._prove_sent(wire, filled)

    def _prove_sent(self, wire: Wire, filled: Filled) -> None:
        block = self._sent.pop(wire, None)
        if block is not None and not self._is_as_sent(wire, block, filled):
            self._reading.prove(wire, block, filled)

    def _is_as_sent(self, wire: Wire, block: Block, filled: Filled) -> bool:
        self._take_replies(wire, block, filled)
        return self._reading.is_next(wire, block.whole_values, filled)

    def _take_replies(self, wire: Wire, block: Block, filled: Filled) -> None:
        answered = block.answered
        replies = wire.integers(len(answered))
        filled.written += block.is_present.sum(axis=0)
        for place in range(block.is_present.shape[1]):
            filled.removed[place] += int(np.count_nonzero(replies[answered == place + 1]))
