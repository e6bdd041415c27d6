"""Calls that many wait for, and calls of which one is enough."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

from api.problems import Overloaded
from api.redis_connection import TROUBLE

Result = TypeVar("Result")
# Who waits takes memory: 4,000 take about 2 MB.
MOST_WAITING = 4_000


class SharedCall(Generic[Result]):
    """A call that is made once for all who want its result while it is under way.

    It goes on when those who wait go away, so that a deadline shorter than the call does not keep it from ever ending.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._call = call
        self._task: asyncio.Task[Result] | None = None
        self._waiting = 0

    async def result(self) -> Result:
        """Wait for the call that is under way, or for a new one; its errors, or Overloaded at once."""
        if self._waiting >= MOST_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            return await asyncio.shield(self.start())
        finally:
            self._waiting -= 1

    def start(self) -> "asyncio.Task[Result]":
        """Begin the call, if it is not under way."""
        if self._task is None:
            self._task = asyncio.create_task(self._call())
            self._task.add_done_callback(self._end)
        return self._task

    async def close(self) -> None:
        """Cancel the call that is under way, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _end(self, task: "asyncio.Task[Result]") -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # whoever waited has it


async def first(calls: Iterable[Awaitable[Result]]) -> Result:
    """What the first call gives that succeeds, all being made at once; the error of the last one if each fails.

    Those that are still under way then are cancelled, and have ended.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        for number, task in enumerate(asyncio.as_completed(tasks), 1):
            try:
                return await task
            except TROUBLE:
                if number == len(tasks):
                    raise
        raise ValueError("there are no calls")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
