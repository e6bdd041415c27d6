"""Fills the online store in this process."""

from collections.abc import Callable

from jobs.arrow_query import ArrowDatabase
from jobs.lock import WriterLock
from jobs.online.filled import Filled
from jobs.online.partition_task import PartitionTask
from jobs.progress import Progress
from jobs.settings import RedisSettings


class LocalEngine:
    """Partitions one after the other; each streams, so that memory does not grow with it, but for 8 bytes an entity."""

    def __init__(
        self, settings: RedisSettings, database: Callable[[], ArrowDatabase], lock: WriterLock, partitions: int | None
    ) -> None:
        """`database` gives the offline store, `partitions` into how many the entities are split; None for one."""
        self._settings, self._database, self._lock, self._partitions = settings, database, lock, partitions or 1

    def fill(self, task: PartitionTask, progress: Progress, ready: Callable[[], object]) -> Filled:
        """Do `task` once all is `ready`; raises JobError or redis.RedisError."""

        def before_write() -> None:
            ready()
            self._lock.check()

        filled = Filled.nothing(len(task.group.views))
        for part in task.split(self._partitions):
            filled += part.run(self._settings, self._database(), before_write, progress.advance)
        return filled
