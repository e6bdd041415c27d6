"""Feast's feature views as sources of snapshots: which columns of the source are read for what, in one place."""

from typing import TYPE_CHECKING

from jobs.current_row import SnapshotSource, TypedColumn
from jobs.errors import UsageError

if TYPE_CHECKING:  # Feast takes seconds to import
    from feast import FeatureView
    from feast.data_source import DataSource
    from feast.field import Field

TOMBSTONE_TAG = "tombstone_column"
DUMMY_KEY = "__dummy_id"
"""The join key that Feast gives a view without entities."""


def snapshot_source(view: "FeatureView") -> SnapshotSource:
    """Where the view's history is, with the columns' names as the source has them.

    Raises UsageError for a view that has none.
    """
    source = view.batch_source
    if source is None or not source.timestamp_field:
        raise UsageError(f"feature view {view.name} has no batch source with a timestamp_field; give it one")
    return SnapshotSource(
        relation=source.get_table_query_string(),
        keys=tuple(_typed(source, key) for key in view.entity_columns if key.name != DUMMY_KEY),
        features=tuple(_typed(source, feature) for feature in view.features),
        as_of_column=source_column(source, source.timestamp_field),
        created_at_column=source_column(source, source.created_timestamp_column) or None,
        tombstone_column=source.tags.get(TOMBSTONE_TAG) or None,
    )


def source_column(source: "DataSource", name: str) -> str:
    """The column that the source's field mapping renames to `name`; `name` where it renames none."""
    columns = {renamed: column for column, renamed in source.field_mapping.items()}
    return columns.get(name, name)


def _typed(source: "DataSource", field: "Field") -> TypedColumn:
    return TypedColumn(source_column(source, field.name), field.dtype.to_value_type().name)
