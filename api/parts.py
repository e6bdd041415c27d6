"""Batches, read part by part: few at once, so that single reads always find room, and few that wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from api.deadline import Deadline
from api.online_store import DEADLINE, PART, HashRead, HashReply
from api.problems import Overloaded

# Half of what may be outstanding.
PARTS_AT_ONCE, PARTS_WAITING = 10, 50


class Parts:
    """Reads batches by a call that reads one part."""

    def __init__(self, read: Callable[[Sequence[HashRead]], Awaitable[list[HashReply]]]) -> None:
        self._read = read
        self._free, self._waiting = asyncio.Semaphore(PARTS_AT_ONCE), 0

    async def read(self, reads: Sequence[HashRead]) -> list[HashReply]:
        """One reply for each; within 250 ms a part, or TimeoutError, an error of the call, or Overloaded at once."""
        replies: list[HashReply] = []
        for start in range(0, len(reads), PART):
            async with Deadline(DEADLINE):
                await self._turn()
                try:
                    replies += await self._read(reads[start : start + PART])
                finally:
                    self._free.release()
        return replies

    async def _turn(self) -> None:
        if self._waiting >= PARTS_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
