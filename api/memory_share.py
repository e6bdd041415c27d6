"""What callers may make the process hold in memory: each a little always, and all together no more than a budget."""

import asyncio

from api.deadline import Deadline
from api.problems import Overloaded

MEBIBYTE = 1024 * 1024


class Budget:
    """Bytes that all callers share."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    def move(self, count: int) -> None:
        """Take so many bytes out of it, or put them back (a negative count)."""
        self.free -= count
        if count < 0:
            self._freed.set()

    async def wait(self, count: int, seconds: float) -> None:
        """Take so many bytes as soon as they are free, first come, first served; Overloaded after so long."""
        try:
            async with Deadline(seconds), self._turn:
                while self.free < count:
                    self._freed.clear()
                    await self._freed.wait()
                self.move(count)
        except TimeoutError:
            raise Overloaded("The gateway is at as many large answers as it may be; try again.") from None


class Share:
    """What one caller holds: up to `own` bytes always, and more only while the budget has room."""

    __slots__ = ("_budget", "_own", "taken")

    def __init__(self, budget: Budget, own: int) -> None:
        self._budget, self._own = budget, own
        self.taken = 0
        """What it has of the budget."""

    def hold(self, count: int) -> bool:
        """Hold `count` bytes from now on, in all; False without a change if there is no room."""
        more = self._more(count)
        if more > max(0, self._budget.free):
            return False
        self._move(more)
        return True

    async def wait(self, count: int, seconds: float) -> None:
        """Hold `count` bytes as soon as there is room; Overloaded if there is none within so long."""
        more = self._more(count)
        if more > 0:
            await self._budget.wait(more, seconds)
            self.taken += more

    def end(self) -> None:
        """Hold nothing any more."""
        self._move(-self.taken)

    def _more(self, count: int) -> int:
        return max(0, count - self._own) - self.taken

    def _move(self, count: int) -> None:
        if count:
            self.taken += count
            self._budget.move(count)
