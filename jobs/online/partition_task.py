"""A partition as a task that any process can do which reaches both stores; partitions share nothing."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from jobs import postgres
from jobs.arrow_query import ArrowDatabase, ArrowSession, arrow_database
from jobs.online.correction import Correction
from jobs.online.current_rows import ALL, Partition, current_entities_query
from jobs.online.entity_group import EntityGroup
from jobs.online.filled import Filled
from jobs.online.key_sample import KeySample
from jobs.online.load import Load
from jobs.online.partition import fill
from jobs.online.source_digest import SourceSum, source_sums
from jobs.online.store import connect
from jobs.online.wire import opened_wires
from jobs.settings import RedisSettings

SLICES = 2
"""In so many parts Postgres reads all entities: it sorts before it hands out a row, and Redis waits for the first one.
Each part scans the tables once, as each partition does."""


def offline_store() -> AbstractContextManager[ArrowDatabase]:
    """What tasks read. Raises UsageError when a setting is missing, JobError when Postgres cannot be reached."""
    return arrow_database(postgres.conninfo("materialize reader"))


@dataclass(frozen=True)
class PartitionTask:
    """Which entities to fill, as of when, out of which snapshot of the offline store."""

    group: EntityGroup
    as_of: datetime
    snapshot_id: str
    """What pg_export_snapshot() said in a transaction that stays open until the task is done."""
    compare: bool
    """Whether to read first what Redis holds, and to leave alone what is right already."""
    partition: Partition = ALL

    def split(self, partitions: int) -> "list[PartitionTask]":
        """The same in so many tasks, which share nothing; in one where there is but one entity."""
        count = partitions if self.group.join_keys else 1
        return [replace(self, partition=part) for part in self.partition.split(count)]

    def run(
        self,
        settings: RedisSettings,
        database: ArrowDatabase,
        before_write: Callable[[], None],
        advance: Callable[[int], None],
    ) -> Filled:
        """Fill the partition out of the offline store `database`; `advance` is told of rows as they are proven.

        Raises JobError or redis.RedisError.
        """
        sources, drawn = list[SourceSum](), KeySample()
        with (
            connect(settings) as client,
            opened_wires(client) as wires,
            database.session(self.snapshot_id) as session,
        ):
            writer = Correction(self.group, before_write) if self.compare else Load(self.group, before_write, None)
            filled = fill(self.group, session, self._read(session, sources, drawn), wires, writer, advance)
        filled.sources, filled.drawn = sources, drawn
        return filled

    def _read(
        self, session: ArrowSession, sources: list[SourceSum], drawn: KeySample
    ) -> Generator[pa.RecordBatch, None, None]:
        views, width = self.group.views, len(self.group.join_keys)
        for part in self._slices():
            for batch in session.batches(current_entities_query(views, self.as_of, part)):
                if width:
                    drawn.see(batch.columns[:width])
                yield batch
        # Not before: until Redis has the rows it waits for Postgres, and then Postgres has nothing else to do.
        sources += source_sums(session, views, self.as_of, self.partition)

    def _slices(self) -> list[Partition]:
        return self.partition.split(SLICES) if self.partition == ALL and self.group.join_keys else [self.partition]
