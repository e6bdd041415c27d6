"""Feast's feature views as the point-in-time join reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from feast import FeatureView
from feast.infra.registry.base_registry import BaseRegistry
from feast.utils import _get_requested_feature_views_to_features_dict, _get_requested_on_demand_feature_views

from jobs.feast_plugins.point_in_time import EntityKey, ViewSource
from jobs.feast_plugins.result_columns import ResultColumn, promised_type
from jobs.feast_sources import DUMMY_KEY, snapshot_source


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
    """The views that `feature_refs` ask of, in that order; views that an on-demand view needs are among them.

    Raises UsageError for a view without a batch source, which has no history.
    """
    on_demand = _get_requested_on_demand_feature_views(list(feature_refs), project, registry)
    features_of, _ = _get_requested_feature_views_to_features_dict(list(feature_refs), list(feature_views), on_demand)
    return [
        RequestedView(view, _view_source(view, features, grace), _result_columns(view, features, full_feature_names))
        for view, features in features_of.items()
    ]


def _view_source(view: FeatureView, features: Sequence[str], grace: timedelta) -> ViewSource:
    snapshots = snapshot_source(view)
    names = [key.name for key in view.entity_columns if key.name != DUMMY_KEY]
    columns = dict(zip((field.name for field in view.features), snapshots.features, strict=True))
    return ViewSource(
        snapshots,
        # As the entity rows name them, after aliasing, and as the source does, before field mapping.
        keys=tuple(
            EntityKey(view.projection.join_key_map.get(name, name), column)
            for name, column in zip(names, snapshots.keys, strict=True)
        ),
        features=tuple(columns[feature].name for feature in features),
        ttl=view.ttl or None,
        grace=grace,
    )


def _result_columns(view: FeatureView, features: Sequence[str], full_feature_names: bool) -> tuple[ResultColumn, ...]:
    types = {field.name: promised_type(field.dtype) for field in view.features}
    prefix = f"{view.projection.name_to_use()}__" if full_feature_names else ""
    return tuple(ResultColumn(f"{prefix}{feature}", types[feature]) for feature in features)
