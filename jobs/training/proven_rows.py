"""The rows of a training set, part by part in the order of their key: judged by the rules, joined, proven."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from datetime import timedelta

import pyarrow as pa

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.errors import JobError
from jobs.instant_numbers import TIMESTAMP
from jobs.key_order import parts
from jobs.training.leak_proof import LabelProof, LabelProver, ViewProof, ViewProver
from jobs.training.population import Population
from jobs.training.rows import EVENT_TIMESTAMP, Counts, Labels, check_some_left, has_key_of
from jobs.training.source_rows import SourceRows, in_reach, labels_in_reach, read_sources
from jobs.training.views import TrainingView
from jobs.training.window import LabelledInstant

PART_ROWS = 1 << 16
"""About so many rows of the longest table are looked at together."""
Join = Callable[[pa.Schema, Iterator[pa.Table]], Generator[pa.Table, None, None]]
"""From the schema and the tables of entity rows, in the order of their key, to those tables with features."""


class ProvenRows:
    """What one snapshot of the offline store gives for these views, labels and instants."""

    def __init__(
        self,
        views: Sequence[TrainingView],
        labels: Labels,
        instants: Sequence[LabelledInstant],
        grace: timedelta,
        snapshot: ArrowSnapshot,
    ) -> None:
        self._labels, self._snapshot = labels, snapshot
        self._who = [view for view in views if has_key_of(view, labels)]
        self._population = Population(labels, instants, grace)
        self._views = {view.name: ViewProver(view, labels, grace, snapshot) for view in views}
        self._label = LabelProver(labels, instants, snapshot)
        self._tables = [*(prover.table for prover in self._views.values()), self._label.table]
        self.queries = [in_reach(view, self._views[view.name].table, instants) for view in views]
        """What is read beside the join, the labels last."""
        self.queries.append(labels_in_reach(self._label.table, instants))

    def tables(self, join: Join, advance: Callable[[int], None]) -> Iterator[pa.Table]:
        """Full names and the label, by key and event timestamp; `advance` is told how many rows were looked at.

        Raises JobError when a row shows what could not be known or the join loses or invents rows, and DataError, which
        names the rules that removed them, when no row is left.
        """
        with read_sources(self._snapshot, self._tables, self.queries, self._labels.key) as sources:
            waiting: deque[tuple[int, dict[str, pa.Table]]] = deque()
            with closing(join(self._schema(sources), self._entities(sources, waiting, advance))) as joined:
                for table in joined:
                    expected, rows = waiting.popleft()
                    _check_rows(table.num_rows, expected)
                    self._prove(table, rows)
                    yield table
            _check_rows(0, sum(expected for expected, _ in waiting))
        check_some_left(self.counts, self._who)

    @property
    def counts(self) -> list[Counts]:
        """What was judged so far, one entry for each event timestamp."""
        return self._population.counts()

    @property
    def proofs(self) -> tuple[dict[str, ViewProof], LabelProof]:
        """Of what was proven so far: by view, and of the labels."""
        return {name: prover.proof for name, prover in self._views.items()}, self._label.proof

    def _entities(
        self, sources: SourceRows, waiting: deque[tuple[int, dict[str, pa.Table]]], advance: Callable[[int], None]
    ) -> Iterator[pa.Table]:
        for last in parts([sources.streams[view.name] for view in self._who], PART_ROWS):
            rows = sources.until(last)
            advance(sum(rows[name].num_rows for name in sources.streams))
            table = self._population.judge([rows[view.name] for view in self._who], rows[self._label.table.name])
            if table.num_rows:
                waiting.append((table.num_rows, rows))
                yield table

    def _prove(self, table: pa.Table, rows: dict[str, pa.Table]) -> None:
        for name, prover in self._views.items():
            prover.add(table, rows[name])
        self._label.add(table, rows[self._label.table.name])

    def _schema(self, sources: SourceRows) -> pa.Schema:
        of_labels = sources.streams[self._label.table.name].schema
        instant = pa.field(EVENT_TIMESTAMP, TIMESTAMP)
        return pa.schema([*map(of_labels.field, self._labels.key), instant, of_labels.field(self._labels.label)])


def _check_rows(found: int, expected: int) -> None:
    if found != expected:
        raise JobError(f"the join gave {found} rows for {expected} of the population; nothing was written")
