"""What a gateway does beside answering requests: a task that fails is logged, counted, and started again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from api.metrics import Metrics

logger = logging.getLogger("api.background")
PAUSE_SECONDS = 1.0


class Background:
    """Tasks that run until `stop`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        """Run it from now on, and anew a second after each time that it has ended, for whatever reason."""
        self._metrics.task_failures.setdefault(name, [0])
        self._tasks.append(asyncio.create_task(self._keep_running(name, run), name=name))

    async def stop(self) -> None:
        """Cancel all of them, and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def attempt(self, name: str, run: Callable[[], Awaitable[object]]) -> bool:
        """Run it once; whether it ended without a failure, which is logged and counted and goes no further."""
        try:
            await run()
        except Exception as error:
            self._failed(name, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(name, error)  # what it waited for was cancelled, not the task
        else:
            return True
        return False

    async def _keep_running(self, name: str, run: Callable[[], Awaitable[object]]) -> None:
        while True:
            if await self.attempt(name, run):
                self._failed(name, RuntimeError("the task ended, which it is not to"))
            await asyncio.sleep(PAUSE_SECONDS)

    def _failed(self, name: str, error: BaseException) -> None:
        count = self._metrics.task_failures.setdefault(name, [0])
        count[0] += 1
        logger.error("background_task_failed", exc_info=error, extra={"fields": {"task": name, "failures": count[0]}})
