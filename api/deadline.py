"""A deadline for others: what they have sent while this process itself had to wait for a CPU is in time."""

import asyncio
from types import TracebackType
from typing import Self

TICK_SECONDS = 0.025


class Deadline:
    """`async with`: TimeoutError once the event loop has run for `seconds` and the block has not ended.

    It counts ticks, each from when the one before was noticed: a process that is held up notices late.
    """

    __slots__ = ("_left", "_loop", "_scope", "_timer")

    def __init__(self, seconds: float) -> None:
        self._left = round(seconds / TICK_SECONDS)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _tick(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._scope.reschedule(self._loop.time())
