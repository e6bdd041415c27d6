"""Long work in turns: a call whose answer is large lets the others have the event loop in between."""

import asyncio
from time import perf_counter

TURN_SECONDS = 0.005


class Turns:
    """The turns of one piece of work."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = perf_counter()

    def is_over(self) -> bool:
        """Whether this work has had the event loop for a while."""
        return perf_counter() - self._since > TURN_SECONDS

    async def wait(self) -> None:
        """Let others have it."""
        await asyncio.sleep(0)
        self._since = perf_counter()
