"""Fills the online store in this process."""

from datetime import datetime

from jobs.lock import WriterLock
from jobs.online.current_rows import ALL
from jobs.online.entity_group import EntityGroup
from jobs.online.partition import Filled
from jobs.online.partition_task import PartitionTask
from jobs.progress import Progress
from jobs.settings import RedisSettings


class LocalEngine:
    """One partition, which streams: its memory does not grow with the entities, but for 8 bytes each."""

    def __init__(self, settings: RedisSettings, lock: WriterLock) -> None:
        self._settings, self._lock = settings, lock

    def fill(
        self, group: EntityGroup, as_of: datetime, snapshot_id: str, progress: Progress, *, compare: bool
    ) -> Filled:
        """Fill the group; raises JobError or redis.RedisError."""
        task = PartitionTask(group, as_of, snapshot_id, compare, ALL)
        return task.run(self._settings, self._lock.check, progress.advance)
