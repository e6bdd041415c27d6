"""Entity rows joined with the features of views, at a snapshot of the offline store."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import psycopg
import pyarrow as pa

from jobs.arrow_snapshot import ArrowSnapshot
from jobs.feast_plugins.entity_rows import Entities, EntityStream, EntityTable
from jobs.feast_plugins.point_in_time import join_query
from jobs.feast_plugins.result_columns import read_query, result_table
from jobs.feast_plugins.view_rows import ARROW_KEYS, ViewRows, Window
from jobs.feast_plugins.view_sources import RequestedView
from jobs.instant_numbers import TIMESTAMP, instant_numbers
from jobs.key_order import KeyOrderedRows, key_of
from jobs.postgres import estimated_rows
from jobs.row_numbers import RowNumbers

ROWS_PER_ENTITY_ROW = 15
"""Where views have more rows in reach than so many for each entity row, Postgres looks the few up (measured)."""


class PointInTimeJoin:
    """The join of one question. Raises UsageError and JobError as queries do, ValueError for a value that misfits."""

    def __init__(
        self,
        entities: Entities,
        views: Sequence[RequestedView],
        key_types: Mapping[str, pa.DataType],
        connection: psycopg.Connection,
        snapshot: ArrowSnapshot,
    ) -> None:
        """`connection` reads what `snapshot` shows."""
        self._entities, self._key_types = entities, key_types
        self._connection, self._snapshot = connection, snapshot
        self._sources = [view.source for view in views]
        self._views = [ViewRows(connection, view) for view in views]

    def whole(self) -> pa.Table:
        """All rows, in the order of the entity rows."""
        if not self._comparable():
            return self._in_postgres(self._entities)
        table = self._entities.table(self._snapshot)
        given = EntityTable(table)
        window = _window(given)
        if window is None or self._few(table.num_rows, window):
            return self._in_postgres(given)
        asked = _Asked(table, self._entities)
        with self._snapshot.tables([view.query(window) for view in self._views]) as tables:
            for view in self._views:
                asked.numbers(view)  # while the first rows are read
            found = [self._features(view, asked, rows, window) for view, rows in zip(self._views, tables, strict=True)]
        return self._joined(table, [column for columns in found for column in columns])

    def parts(self, rows: int) -> Iterator[pa.Table]:
        """The rows in the order of the keys and the instant, about so many at a time, and no key in two parts.

        Views with all the keys are read in step; of the others, which have fewer, all rows are held.
        """
        order = self._entities.order or max((view.keys for view in self._views), key=len, default=())
        window = _window(self._entities)
        if window is None or not self._comparable():
            yield from self._parts_in_postgres(order)
            return
        with ExitStack() as reading:
            sources = [self._source(view, order, window, reading) for view in self._views]
            for table in self._entities.parts(self._snapshot, order, rows):
                if not table.num_rows:
                    continue
                last = key_of(table, [table.schema.get_field_index(name) for name in order], table.num_rows - 1)
                asked = _Asked(table, self._entities)
                rows_of = (source.until(last) if isinstance(source, KeyOrderedRows) else source for source in sources)
                found = [self._features(view, asked, of, window) for view, of in zip(self._views, rows_of, strict=True)]
                yield self._joined(table, [column for columns in found for column in columns])

    def _parts_in_postgres(self, order: Sequence[str]) -> Iterator[pa.Table]:
        if isinstance(self._entities, EntityStream):
            yield from (self._in_postgres(EntityTable(table)) for table in self._entities.tables)
        else:
            names = [(name, "ascending") for name in (*order, self._entities.instant)]
            yield self._in_postgres(self._entities).sort_by(names)

    def _source(
        self, view: ViewRows, order: Sequence[str], window: Window, reading: ExitStack
    ) -> KeyOrderedRows | pa.Table:
        if set(view.keys) != set(order):
            return self._snapshot.table(view.query(window))
        batches = reading.enter_context(self._snapshot.stream(view.query(window, order)))
        return KeyOrderedRows(batches, [view.keys.index(name) for name in order])

    def _features(self, view: ViewRows, asked: "_Asked", rows: pa.Table, window: Window) -> list[pa.ChunkedArray]:
        numbers = asked.numbers(view)
        history = view.history(rows, numbers)
        if len(tied := history.tied()):
            rows = view.without_ties(self._snapshot, window, rows, tied)
            history = view.history(rows, numbers)
        return view.features(rows, history.latest(numbers.numbers, asked.instants, view.limits))

    def _joined(self, table: pa.Table, features: Sequence[pa.ChunkedArray]) -> pa.Table:
        named = [column.result for view in self._views for column in view.columns]
        fields = [*table.schema, *(pa.field(result.name, result.type) for result in named)]
        return pa.table([*table.columns, *features], schema=pa.schema(fields))

    def _in_postgres(self, entities: Entities) -> pa.Table:
        read = [*entities.columns, *(column for view in self._views for column in view.columns)]
        query = read_query(join_query(entities.rows(self._key_types), self._sources), read)
        found = result_table(self._snapshot.table(query.as_string(None)), read)
        return found if entities.columns else self._joined(entities.table(self._snapshot), found.columns)

    def _comparable(self) -> bool:
        """Whether Arrow finds all keys equal that Postgres does, and no others."""
        return all(
            kind is not None and kind == self._entities.kind_of(name)
            for view in self._views
            for name, kind in zip(view.keys, view.key_kinds, strict=True)
        )

    def _few(self, entity_rows: int, window: Window) -> bool:
        in_reach = sum(estimated_rows(self._connection, view.query(window)) for view in self._views)
        return in_reach > ROWS_PER_ENTITY_ROW * entity_rows * len(self._views)


class _Asked:
    """Entity rows as numbers: those of views with the same keys are made once."""

    def __init__(self, table: pa.Table, entities: Entities) -> None:
        self._table, self._entities = table, entities
        self.instants = instant_numbers(table[entities.instant].cast(TIMESTAMP))
        self._numbers: dict[tuple[str, ...], RowNumbers] = {}

    def numbers(self, view: ViewRows) -> RowNumbers:
        if view.keys not in self._numbers:
            keys = [
                self._table[name].cast(ARROW_KEYS[kind or ""])
                for name, kind in zip(view.keys, view.key_kinds, strict=True)
            ]
            self._numbers[view.keys] = RowNumbers(keys, self._table.num_rows, nulls_equal=False)
        return self._numbers[view.keys]


def _window(entities: Entities) -> Window | None:
    first, last = entities.bounds()
    return None if first is None or last is None else Window(first, last)
