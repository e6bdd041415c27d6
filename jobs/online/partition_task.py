"""A partition as a task that any process can do which reaches both stores; partitions share nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jobs import postgres
from jobs.arrow_query import arrow_session
from jobs.online.correction import Correction
from jobs.online.current_rows import Partition, current_entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.load import Load
from jobs.online.partition import fill
from jobs.online.store import connect
from jobs.online.wire import opened_wires
from jobs.settings import RedisSettings


@dataclass(frozen=True)
class PartitionTask:
    """Which entities to fill, as of when, out of which snapshot of the offline store."""

    group: EntityGroup
    as_of: datetime
    snapshot_id: str
    """What pg_export_snapshot() said in a transaction that stays open until the task is done."""
    compare: bool
    """Whether to read first what Redis holds, and to leave alone what is right already."""
    partition: Partition

    def run(self, settings: RedisSettings, before_write: Callable[[], None], advance: Callable[[int], None]) -> Filled:
        """Fill the partition; `advance` is told of rows as they are proven. Raises JobError or redis.RedisError."""
        query = current_entities_query(self.group.views, self.as_of, self.partition)
        with (
            connect(settings) as client,
            opened_wires(client) as wires,
            arrow_session(postgres.conninfo("materialize reader"), self.snapshot_id) as session,
        ):
            writer = Correction(self.group, before_write) if self.compare else Load(self.group, before_write, None)
            return fill(self.group, session, query, wires, writer, advance)
