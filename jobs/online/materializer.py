"""Makes the online store's part of each view equal to the offline store's current rows, and proves that it is."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import psycopg

from jobs.definitions import SnapshotView
from jobs.errors import DataError, VerificationError
from jobs.instants import isoformat
from jobs.lock import WriterLock
from jobs.online.current_rows import current_rows
from jobs.online.encoding import encode_timestamp, value_encoder
from jobs.online.store import Client, ViewHash, entity_keys, read_hashes, remove_fields, write_hashes
from jobs.runner import Run

Rows = Iterator[list[tuple[Any, ...]]]


@dataclass(frozen=True)
class ViewResult:
    """What a materialization did to one view, and the order-free digest of what the online store holds of it now."""

    rows: int
    written: int
    removed: int
    digest: int

    @property
    def changed(self) -> bool:
        """Whether the online store was touched."""
        return self.written + self.removed > 0


class Digest:
    """Count and order-free digest of rows: the sum modulo 2**64 of an 8-byte BLAKE2b of each row's key and values."""

    def __init__(self) -> None:
        self.rows = 0
        self.value = 0

    def add(self, key: bytes, values: Sequence[bytes | None]) -> None:
        """Count one row; None (a field that is absent) differs from empty bytes (a NULL)."""
        row = hashlib.blake2b(key, digest_size=8)
        for value in values:
            row.update(b"-" if value is None else b"+%d:%b" % (len(value), value))
        self.rows += 1
        self.value = (self.value + int.from_bytes(row.digest())) % 2**64


class Materializer:
    """Fills views from one snapshot of the offline store, under a held writer lock."""

    def __init__(self, client: Client, snapshot: psycopg.Connection, project: str, lock: WriterLock, run: Run) -> None:
        self._client, self._snapshot, self._project = client, snapshot, project
        self._lock, self._run = lock, run

    def materialize(self, views: Sequence[SnapshotView], as_of: datetime) -> dict[str, ViewResult]:
        """Make the online store show `as_of` for `views`, and verify it.

        Raises DataError, before anything changes, when a view has no current row; LockLostError when the writer lock is
        lost; VerificationError when the online store does not hold what was read from the offline store.
        """
        rows = {view.name: self._rows(view, as_of) for view in views}
        results = {}
        for view in views:
            results[view.name] = self._fill(view, rows[view.name])
            self._run.log("filled", feature_view=view.name, **vars(results[view.name]))
        for view in views:
            self._verify(view, results[view.name])
        return results

    def _rows(self, view: SnapshotView, as_of: datetime) -> Rows:
        batches = current_rows(self._snapshot, view, as_of)
        first = next(batches, None)
        if first is None:
            limit = "" if view.ttl is None else f" and not before {isoformat(as_of - view.ttl)}"
            raise DataError(
                f"feature view {view.name} has no row with as_of up to {isoformat(as_of)}{limit} in {view.source}; "
                "nothing was changed. Ingest that month, or name another --as-of"
            )
        return chain([first], batches)

    def _fill(self, view: SnapshotView, batches: Rows) -> ViewResult:
        layout, digest = ViewHash(self._project, view), Digest()
        current, written = set[bytes](), 0
        with self._run.progress(None, "rows", view.name) as progress:
            for batch in batches:
                encoded = encode_rows(view, layout, batch)
                for key, values in encoded:
                    digest.add(key, values)
                    current.add(key)
                stored = read_hashes(self._client, [key for key, _ in encoded], layout.fields)
                # What is there already is left alone: a repeat writes nothing.
                changed = [row for row, before in zip(encoded, stored, strict=True) if row[1] != before]
                self._lock.check()
                write_hashes(
                    self._client, ((key, dict(zip(layout.fields, values, strict=True))) for key, values in changed)
                )
                written += len(changed)
                progress.advance(len(batch))
        return ViewResult(len(current), written, self._remove_others(layout, current), digest.value)

    def _remove_others(self, layout: ViewHash, current: set[bytes]) -> int:
        removed = 0
        for keys in entity_keys(self._client, self._project, layout.prefix):
            others = [key for key in keys if key not in current]
            stored = read_hashes(self._client, others, layout.fields)
            leavers = [key for key, values in zip(others, stored, strict=True) if values != [None] * len(values)]
            self._lock.check()
            remove_fields(self._client, leavers, layout.fields)
            removed += len(leavers)
        return removed

    def _verify(self, view: SnapshotView, result: ViewResult) -> None:
        layout, digest = ViewHash(self._project, view), Digest()
        for keys in entity_keys(self._client, self._project, layout.prefix):
            for key, values in zip(keys, read_hashes(self._client, keys, layout.fields), strict=True):
                if values != [None] * len(values):
                    digest.add(key, values)
        if (digest.rows, digest.value) != (result.rows, result.digest):
            raise VerificationError(
                f"feature view {view.name}: the online store holds {digest.rows} rows with digest {digest.value:016x}, "
                f"the offline store {result.rows} with {result.digest:016x}; something else writes there. Run it again"
            )


def encode_rows(
    view: SnapshotView, layout: ViewHash, rows: Sequence[tuple[Any, ...]]
) -> list[tuple[bytes, list[bytes]]]:
    """Each row's Redis key and the bytes of `layout.fields`; rows are join keys, features, as_of."""
    keys = len(view.join_keys)
    encoders = [value_encoder(feature.type) for feature in view.features]
    return [
        (
            layout.key(row[:keys]),
            [*(encode(value) for encode, value in zip(encoders, row[keys:-1], strict=True)), encode_timestamp(row[-1])],
        )
        for row in rows
    ]
