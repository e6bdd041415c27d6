"""One snapshot of a database that several queries read at the same time, each in a session and a thread of its own.

Who waits for rows waits in Python, not in a driver, so that SIGTERM ends it at once.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Full, Queue

import pyarrow as pa

from jobs.arrow_query import ArrowDatabase, ArrowSession

BATCHES_AHEAD = 4
"""So many batches are read before they are asked for."""
READ_AT_ONCE = 2
"""So many tables are read at the same time."""
_POLL_SECONDS = 0.1


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
        reader = _Reader(self, query, BATCHES_AHEAD)
        try:
            yield reader.batches()
        finally:
            reader.stop()

    def table(self, query: str) -> pa.Table:
        """All rows of `query`. Raises as `stream` does."""
        with self.tables([query]) as tables:
            return next(tables)

    @contextmanager
    def tables(self, queries: Sequence[str]) -> Iterator[Iterator[pa.Table]]:
        """All rows of each query in turn, while the next one is read. Raises as `stream` does."""
        readers: deque[_Reader] = deque()

        def read() -> Iterator[pa.Table]:
            for number in range(len(queries)):
                while len(readers) < READ_AT_ONCE and (ahead := number + len(readers)) < len(queries):
                    readers.append(_Reader(self, queries[ahead], 0))
                yield pa.Table.from_batches(list(readers[0].batches()))
                readers.popleft()

        try:
            yield read()
        finally:
            for reader in readers:
                reader.stop()

    @contextmanager
    def session(self) -> Iterator[ArrowSession]:
        """A session that reads the snapshot, for the thread that opens it."""
        with self.database.session(self.snapshot_id) as session:
            if self.timeout_seconds is not None:
                session.execute(f"SET LOCAL statement_timeout = {round(self.timeout_seconds * 1000)}")
            yield session


class _Reader:
    """A thread that reads a query's batches into a queue of this length; 0: of any."""

    def __init__(self, snapshot: ArrowSnapshot, query: str, ahead: int) -> None:
        self._snapshot, self._query = snapshot, query
        self._session: ArrowSession | None = None
        self._stopped = threading.Event()
        # A batch, None behind the last one, or what the query failed of.
        self._queue: Queue[pa.RecordBatch | BaseException | None] = Queue(ahead)
        self._thread = threading.Thread(target=self._read, name="arrow reader", daemon=True)
        self._thread.start()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches, in order; raises what the query failed of."""
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def stop(self) -> None:
        """End the query and the thread."""
        self._stopped.set()
        while self._thread.is_alive():
            if self._session is not None:
                self._session.cancel()  # again and again: one that comes before its query begins is lost
            try:
                self._queue.get_nowait()
            except Empty:
                self._thread.join(_POLL_SECONDS)

    def _read(self) -> None:
        try:
            with self._snapshot.session() as session:
                self._session = session
                for batch in session.batches(self._query):
                    if not self._put(batch):
                        break
                self._session = None
            self._put(None)
        except BaseException as error:
            self._session = None
            self._put(error)

    def _put(self, found: pa.RecordBatch | BaseException | None) -> bool:
        """False when nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                self._queue.put(found, timeout=_POLL_SECONDS)
                return True
            except Full:
                continue
        return False
