"""Feast's feature views as the point-in-time join reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast import FeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import _get_requested_feature_views_to_features_dict, _get_requested_on_demand_feature_views

from jobs.feast_plugins.point_in_time import EntityKey, ViewSource
from jobs.feast_plugins.result_columns import ResultColumn, promised_type

TOMBSTONE_TAG = "tombstone_column"


@dataclass(frozen=True)
class RequestedView:
    """A feature view's source, and the result's columns that its features become."""

    view: FeatureView
    source: ViewSource
    columns: tuple[ResultColumn, ...]


def requested_views(
    feature_refs: Sequence[str],
    feature_views: Sequence[FeatureView],
    registry: BaseRegistry,
    project: str,
    *,
    full_feature_names: bool,
    grace: timedelta,
) -> list[RequestedView]:
    """The views that `feature_refs` ask of, in that order; views that an on-demand view needs are among them."""
    on_demand = _get_requested_on_demand_feature_views(list(feature_refs), project, registry)
    features_of, _ = _get_requested_feature_views_to_features_dict(list(feature_refs), list(feature_views), on_demand)
    return [
        RequestedView(view, _view_source(view, features, grace), _result_columns(view, features, full_feature_names))
        for view, features in features_of.items()
    ]


def entity_keys(view: FeatureView) -> tuple[EntityKey, ...]:
    """The view's join keys as the entity rows (after aliasing) and as the source (before field mapping) name them."""
    columns = source_columns(batch_source(view).field_mapping)
    return tuple(
        EntityKey(view.projection.join_key_map.get(key.name, key.name), columns.get(key.name, key.name))
        for key in view.entity_columns
        if key.name != DUMMY_ENTITY_ID
    )


def batch_source(view: FeatureView) -> DataSource:
    """Where the view's history is. Raises ValueError for a view without one."""
    if view.batch_source is None:
        raise ValueError(f"feature view {view.name} has no batch source, so it has no history")
    return view.batch_source


def source_columns(field_mapping: Mapping[str, str]) -> dict[str, str]:
    """A source's field mapping read backwards: the column of each feature that is named differently."""
    return {feature: column for column, feature in field_mapping.items()}


def tombstone_column(source: DataSource) -> str | None:
    """The column that marks withdrawn rows, by the source's tag; None when the source has no tombstones."""
    return source.tags.get(TOMBSTONE_TAG) or None


def _view_source(view: FeatureView, features: Sequence[str], grace: timedelta) -> ViewSource:
    source = batch_source(view)
    columns = source_columns(source.field_mapping)
    return ViewSource(
        relation=source.get_table_query_string(),
        keys=entity_keys(view),
        features=tuple(columns.get(feature, feature) for feature in features),
        as_of=columns.get(source.timestamp_field, source.timestamp_field),
        created_at=columns.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        tombstone=tombstone_column(source),
        ttl=view.ttl or None,
        grace=grace,
    )


def _result_columns(view: FeatureView, features: Sequence[str], full_feature_names: bool) -> tuple[ResultColumn, ...]:
    types = {field.name: promised_type(field.dtype) for field in view.features}
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    return tuple(ResultColumn(f"{prefix}{feature}", types[feature]) for feature in features)
