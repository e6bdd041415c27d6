"""Makes the online store's part of each view equal to the offline store's current rows, and proves that it is."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import psycopg

from jobs import postgres
from jobs.arrow_query import ArrowDatabase
from jobs.background import ahead_of
from jobs.definitions import SnapshotView
from jobs.errors import DataError
from jobs.instants import isoformat
from jobs.lock import WriterLock
from jobs.online.current_rows import entities_query, has_current_row
from jobs.online.end_state import drawn_keys, prove_end_state
from jobs.online.entity_group import EntityGroup, entity_groups
from jobs.online.filled import Filled
from jobs.online.hashing import hashes
from jobs.online.key_sample import Key
from jobs.online.key_scan import entity_keys
from jobs.online.memory import check_memory
from jobs.online.partition_task import PartitionTask
from jobs.online.repeat import former_details, still_shows
from jobs.online.source_digest import SourceSum, source_sums
from jobs.online.status import ViewStatus
from jobs.online.store import Client
from jobs.online.sweep import held, sweep
from jobs.online.value_check import check_values
from jobs.online.wire import opened_wires
from jobs.progress import Progress
from jobs.runner import Run


@dataclass(frozen=True)
class ViewResult:
    """What a materialization did to one view, and the order-free digest of what the online store holds of it now."""

    rows: int
    written: int
    removed: int
    digest: str
    left_out_rows: int
    """Rows of the source whose key or time is NULL."""
    defaulted_elements: int
    """Elements of lists that are NULL in the source and a default value in Redis."""

    @property
    def changed(self) -> bool:
        """Whether the online store was touched."""
        return self.written + self.removed > 0


@dataclass
class Outcome:
    """The results by view; with what the ledger needs for a later repeat to know that nothing is new."""

    views: dict[str, ViewResult] = field(default_factory=dict)
    source_digests: dict[str, str] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    """By entity group how many keys the online store holds."""
    drawn: dict[str, list[Key]] = field(default_factory=dict)
    """By entity group some of the entities that were read, if they were."""


class Engine(Protocol):
    """What fills the entities of a group, in this process or in others."""

    def fill(self, task: PartitionTask, progress: Progress, ready: Callable[[], object]) -> Filled:
        """Do `task`, in partitions of its own; what one of them raises is raised. Nothing is written once that is so.

        `ready` is called, as often as need be, before anything is written.
        """


class Materializer:
    """Fills views from one snapshot of the offline store, under a held writer lock."""

    def __init__(
        self,
        client: Client,
        snapshot: psycopg.Connection,
        database: Callable[[], ArrowDatabase],
        project: str,
        lock: WriterLock,
        run: Run,
        engine: Engine,
    ) -> None:
        """`database` gives the offline store, once it is needed."""
        self._client, self._snapshot, self._database, self._project = client, snapshot, database, project
        self._lock, self._run, self._engine = lock, run, engine
        row = snapshot.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        self._snapshot_id = str(row[0])

    def materialize(
        self, views: Sequence[SnapshotView], as_of: datetime, status: Mapping[str, ViewStatus], *, verify_all: bool
    ) -> Outcome:
        """Make the online store show `as_of` for `views`, and verify it.

        Where `status` says that it does already, and the offline store has not changed since, a count and a sample are
        enough, unless `verify_all`. Raises DataError, before anything changes, when a view has no current row or one
        with a value that does not fit, or Redis no room for all; LockLostError when the writer lock is lost,
        VerificationError when the online store does not hold what it should.
        """
        outcome = Outcome()
        groups = [(group, self._is_shown(group, as_of, status)) for group in entity_groups(self._project, views)]
        new = [
            (group, is_shown)
            for group, is_shown in groups
            if not (is_shown and not verify_all and self._repeat(group, as_of, status, outcome))
        ]
        for group, _ in new:
            for view in group.views:
                self._check_rows(view, as_of)
                check_values(self._snapshot, view, as_of)
        if new:
            self._check_memory([group for group, _ in new], as_of)
        for group, is_shown in new:
            self._fill(group, as_of, status, outcome, compare=is_shown)
            for other, _ in groups:  # all count the same keys, and this one was filled last
                if other.prefix == group.prefix:
                    outcome.keys[other.name] = outcome.keys[group.name]
        return outcome

    def prove_end_state(self, views: Sequence[SnapshotView], as_of: datetime, outcome: Outcome, *, whole: bool) -> None:
        """Read entities of `views` afresh, all or a random sample, and compare them with the offline store.

        To be called once nothing more will be written. Raises VerificationError.
        """
        started = time.monotonic()
        compared = 0
        with opened_wires(self._client) as wires, self._database().session(self._snapshot_id) as session:
            for group in entity_groups(self._project, views):
                keys = None
                if group.join_keys and not whole:
                    keys = outcome.drawn.get(group.name)
                    if keys is None:  # nothing was new
                        keys = drawn_keys(session, group, as_of, outcome.keys[group.name])
                compared += prove_end_state(wires, session, group, as_of, keys)
        self._run.log("end_state_proven", entities=compared, seconds=round(time.monotonic() - started, 3))

    def _is_shown(self, group: EntityGroup, as_of: datetime, status: Mapping[str, ViewStatus]) -> bool:
        """Whether the status says that the online store shows `as_of` already."""
        return all(
            view.name in status
            and status[view.name].watermark == as_of
            and status[view.name].features == view.feature_types
            for view in group.views
        )

    def _check_rows(self, view: SnapshotView, as_of: datetime) -> None:
        if not has_current_row(self._snapshot, view, as_of):
            limit = "" if view.ttl is None else f" and not before {isoformat(as_of - view.ttl)}"
            raise DataError(
                f"feature view {view.name} has no row with as_of up to {isoformat(as_of)}{limit} in {view.source}; "
                "nothing was changed. Ingest that month, or name another --as-of"
            )

    def _check_memory(self, groups: Sequence[EntityGroup], as_of: datetime) -> None:
        check_memory(self._client, lambda: self._database().session(self._snapshot_id), groups, as_of, self._run.log)

    def _repeat(self, group: EntityGroup, as_of: datetime, status: Mapping[str, ViewStatus], outcome: Outcome) -> bool:
        """Whether nothing is new; then the outcome is that of the run which left it."""
        runs = {status[view.name].run_id for view in group.views}
        details = former_details(self._run.connection, runs.pop() or 0) if len(runs) == 1 else None
        if details is None:
            return False
        left, keys = details.get("feature_views", {}), details.get("keys", {}).get(group.name)
        if keys is None:
            return False
        with (
            ExitStack() as stack,
            opened_wires(self._client) as wires,
            self._database().session(self._snapshot_id) as session,
        ):
            computed = self._sums_meanwhile(stack, group, as_of)
            if not still_shows(self._client, wires, session, group, as_of, keys):
                return False
            sums = dict(zip((view.name for view in group.views), computed.result(), strict=True))
            digests = {view.name: sums[view.name].digest(view, as_of) for view in group.views}
        if digests != {name: left.get(name, {}).get("source_digest") for name in digests}:
            return False
        outcome.keys[group.name] = keys
        outcome.source_digests |= digests
        for name in digests:
            before = left[name]
            outcome.views[name] = ViewResult(
                before["rows"], 0, 0, before["digest"], sums[name].left_out, before["defaulted_elements"]
            )
        self._run.log("nothing_new", feature_views=list(digests))
        return True

    def _fill(
        self, group: EntityGroup, as_of: datetime, status: Mapping[str, ViewStatus], outcome: Outcome, *, compare: bool
    ) -> None:
        started = time.monotonic()
        expected = sum(self._expected_rows(view, as_of, status.get(view.name)) for view in group.views)
        scan = (hashes(keys) for keys in entity_keys(self._client, group.project, group.prefix))
        with (
            ahead_of(scan, ahead=0) as scanned,  # while Postgres sorts
            self._run.progress(expected, "rows", group.name) as progress,
        ):
            ready = held(self._client, scanned)
            filled = self._engine.fill(PartitionTask(group, as_of, self._snapshot_id, compare), progress, ready)
            before = ready()  # also where nothing was to be written
        sweeping = time.monotonic()
        swept = sweep(self._client, group, np.frombuffer(filled.keys, np.uint64), before, self._lock.check)
        ended = time.monotonic()
        self._run.log(
            "verified",
            entities=group.name,
            seconds=round(ended - started, 3),
            of_which_verifying=round(filled.verifying_seconds + ended - sweeping, 3),
        )
        outcome.keys[group.name], outcome.drawn[group.name] = swept.keys, filled.drawn.keys
        for place, view in enumerate(group.views):
            result = ViewResult(
                rows=int(filled.rows[place]),
                written=int(filled.written[place]),
                removed=int(filled.removed[place]) + swept.removed[place],
                digest=f"{int(filled.digests[place]):016x}",
                left_out_rows=filled.sources[place].left_out,
                defaulted_elements=int(filled.defaulted[place]),
            )
            outcome.views[view.name] = result
            outcome.source_digests[view.name] = filled.sources[place].digest(view, as_of)
            self._run.log("filled", feature_view=view.name, **vars(result))

    def _expected_rows(self, view: SnapshotView, as_of: datetime, before: ViewStatus | None) -> int:
        return before.rows if before else postgres.estimated_rows(self._snapshot, entities_query(view, as_of))

    def _sums_meanwhile(self, stack: ExitStack, group: EntityGroup, as_of: datetime) -> "Future[list[SourceSum]]":
        """What Postgres says of the views' rows, in a session of its own."""
        session = stack.enter_context(self._database().session(self._snapshot_id))
        pool = ThreadPoolExecutor(1)
        stack.callback(pool.shutdown)
        # Left early, as on SIGTERM, its query must not be waited for.
        stack.callback(session.cancel)
        return pool.submit(source_sums, session, group.views, as_of)


def details_of(outcome: Outcome) -> dict[str, Any]:
    """What the ledger remembers."""
    return {
        "keys": outcome.keys,
        "feature_views": {
            name: vars(result) | {"source_digest": outcome.source_digests[name]}
            for name, result in outcome.views.items()
        },
    }
