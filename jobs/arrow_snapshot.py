"""One snapshot of a database that several queries read at the same time, each in a session and a thread of its own."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from jobs.arrow_query import ArrowDatabase, ArrowSession
from jobs.background import ahead_of

BATCHES_AHEAD = 4
"""So many batches are read before they are asked for."""
READ_AT_ONCE = 2
"""So many tables are read at the same time."""


@dataclass(frozen=True)
class ArrowSnapshot:
    """What an exported snapshot shows, as Arrow."""

    database: ArrowDatabase
    snapshot_id: str
    timeout_seconds: float | None = None
    """Longer than this no query may take."""

    @contextmanager
    def stream(self, query: str) -> Iterator[Iterator[pa.RecordBatch]]:
        """The batches of `query`, of which there is one at least; left early, the query is cancelled.

        Raises UsageError for a query that does not fit the tables, JobError when Postgres fails.
        """
        with self._reading(query, BATCHES_AHEAD) as batches:
            yield batches

    def table(self, query: str) -> pa.Table:
        """All rows of `query`. Raises as `stream` does."""
        with self.tables([query]) as tables:
            return next(tables)

    @contextmanager
    def tables(self, queries: Sequence[str]) -> Iterator[Iterator[pa.Table]]:
        """All rows of each query in turn, while the next ones are read. Raises as `stream` does."""
        readers: deque[Iterator[pa.RecordBatch]] = deque()
        waiting = iter(queries)

        def read_another() -> None:
            for query in islice(waiting, 1):
                readers.append(reading.enter_context(self._reading(query, 0)))

        def read() -> Iterator[pa.Table]:
            while readers:
                table = pa.Table.from_batches(list(readers.popleft()))
                read_another()
                yield table

        with ExitStack() as reading:
            for _ in range(READ_AT_ONCE):
                read_another()
            yield read()

    @contextmanager
    def session(self) -> Iterator[ArrowSession]:
        """A session that reads the snapshot, for the thread that opens it."""
        with self.database.session(self.snapshot_id) as session:
            if self.timeout_seconds is not None:
                session.execute(f"SET LOCAL statement_timeout = {round(self.timeout_seconds * 1000)}")
            yield session

    def _reading(self, query: str, ahead: int) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """The batches of `query` as a session and a thread of its own read them."""
        opened: list[ArrowSession] = []

        def read() -> Generator[pa.RecordBatch, None, None]:
            with self.session() as session:
                opened.append(session)
                yield from session.batches(query)

        def cancel() -> None:
            for session in opened:
                session.cancel()

        return ahead_of(read(), ahead, cancel)
