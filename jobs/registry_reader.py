"""The registry as a materialization needs it: what it defines, and a place to say what was materialized."""

from collections.abc import Sequence
from datetime import datetime

import psycopg

from jobs import feast_store, resolved
from jobs.definitions import Definitions, SnapshotView, resolve
from jobs.settings import Settings


class RegistryReader:
    """Reads what `apply` resolved; only where the registry has changed since is Feast imported."""

    def __init__(self, connection: psycopg.Connection, settings: Settings) -> None:
        """`connection` is in autocommit."""
        self._connection, self._settings = connection, settings
        self.definitions = resolved.look(connection, settings.project) or self._resolved_by_feast()

    def record_materialization(self, views: Sequence[SnapshotView], as_of: datetime) -> None:
        """Add to each view the interval that ends at `as_of` and is as long as its ttl."""
        epoch = datetime.fromtimestamp(0, as_of.tzinfo)
        starts = [epoch if view.ttl is None else as_of - view.ttl for view in views]
        if not views or resolved.record_materialization(self._connection, self._settings.project, views, starts, as_of):
            return
        feast_store.import_feast_unchecked()
        store = feast_store.open_store(self._settings)
        for view, start in zip(views, starts, strict=True):
            feature_view = store.registry.get_feature_view(view.name, store.project)
            store.registry.apply_materialization(feature_view, store.project, start, as_of)

    def _resolved_by_feast(self) -> Definitions:
        feast_store.import_feast_unchecked()
        definitions = resolve(feast_store.open_store(self._settings))
        resolved.confirm(self._connection, self._settings.project, definitions)
        return definitions
