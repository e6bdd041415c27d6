"""Fills the online store in this process."""

from collections.abc import Callable
from datetime import datetime

from jobs.arrow_query import ArrowDatabase
from jobs.lock import WriterLock
from jobs.online.current_rows import Partition
from jobs.online.entity_group import EntityGroup
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

    def fill(
        self,
        group: EntityGroup,
        as_of: datetime,
        snapshot_id: str,
        progress: Progress,
        ready: Callable[[], object],
        *,
        compare: bool,
    ) -> Filled:
        """Fill the group once it is `ready`; raises JobError or redis.RedisError."""

        def before_write() -> None:
            ready()
            self._lock.check()

        count = self._partitions if group.join_keys else 1
        filled = Filled.nothing(len(group.views))
        for number in range(count):
            task = PartitionTask(group, as_of, snapshot_id, compare, Partition(number, count))
            filled += task.run(self._settings, self._database(), before_write, progress.advance)
        return filled
