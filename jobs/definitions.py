"""What the registry holds, resolved for moving data: views with tables and types, services with features."""

from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING

from jobs.errors import UsageError
from jobs.online.encoding import KEY_TYPES, VALUE_TYPES
from jobs.servable import problems

if TYPE_CHECKING:  # Feast takes seconds to import; a job that only reads these classes must not wait for it.
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
    from feast.field import Field

TOMBSTONE_TAG = "tombstone_column"
DEFAULT_TAG = "default"


@dataclass(frozen=True)
class Feature:
    """A feature: its name, its column in the source ("" where it is computed) and its Feast ValueType's name."""

    name: str
    column: str
    type: str
    description: str
    tags: dict[str, str]


@dataclass(frozen=True)
class JoinKey:
    """A join key: its name, the source's column and its Feast ValueType's name (one of KEY_TYPES)."""

    name: str
    column: str
    type: str


@dataclass(frozen=True)
class SnapshotView:
    """A feature view over snapshots in Postgres."""

    name: str
    join_keys: tuple[JoinKey, ...]
    """Sorted by name, as in the entity key; none for a view without entities."""
    relation: str
    """What stands behind FROM: a table's name or a query in parentheses."""
    source: str
    as_of_column: str
    created_at_column: str | None
    tombstone_column: str | None
    ttl: timedelta | None
    features: tuple[Feature, ...]
    description: str
    owner: str
    tags: dict[str, str]

    @property
    def feature_types(self) -> dict[str, str]:
        """Name of each feature to its type."""
        return {feature.name: feature.type for feature in self.features}


@dataclass(frozen=True)
class OnDemandView:
    """An on-demand feature view: computed at reading from `inputs`, each written `view:feature`."""

    name: str
    features: tuple[Feature, ...]
    inputs: tuple[str, ...]
    description: str
    owner: str
    tags: dict[str, str]


@dataclass(frozen=True)
class ServiceFeature:
    """A feature of a service: the name and the full name in the answer, and where it comes from."""

    name: str
    full_name: str
    feature_view: str
    feature: str


@dataclass(frozen=True)
class Service:
    """A feature service: its features in the order in which it lists them."""

    name: str
    features: tuple[ServiceFeature, ...]
    description: str
    owner: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Definitions:
    """All of a project, each kind sorted by name."""

    project: str
    views: tuple[SnapshotView, ...]
    on_demand_views: tuple[OnDemandView, ...]
    services: tuple[Service, ...]
    default_service: str


def resolve(store: "FeatureStore") -> Definitions:
    """The definitions that `store`'s registry holds. Raises UsageError for what cannot be served."""
    views = tuple(
        snapshot_view(view) for view in sorted(store.list_feature_views(), key=attrgetter("name")) if view.online
    )
    on_demand = tuple(
        _on_demand_view(view) for view in sorted(store.list_on_demand_feature_views(), key=attrgetter("name"))
    )
    services = tuple(_service(service) for service in sorted(store.list_feature_services(), key=attrgetter("name")))
    _check_references(views, on_demand, services)
    for problem in problems(views, on_demand, services):
        raise UsageError(problem)
    return Definitions(store.project, views, on_demand, services, _default_service(services))


def snapshot_view(view: "FeatureView") -> SnapshotView:
    """A feature view of Feast's, resolved. Raises UsageError for one that cannot be served."""
    source = view.batch_source
    if source is None or not source.timestamp_field:
        raise UsageError(f"feature view {view.name} has no batch source with a timestamp_field; give it one")
    column_of = {feature: column for column, feature in source.field_mapping.items()}
    join_keys = [
        JoinKey(column.name, column_of.get(column.name, column.name), column.dtype.to_value_type().name)
        for column in sorted(view.entity_columns, key=attrgetter("name"))
        if column.name != "__dummy_id"
    ]
    for key in join_keys:
        if key.type not in KEY_TYPES:
            raise UsageError(f"join key {key.name} of feature view {view.name} has type {key.type}; "
                             f"Feast can look up {', '.join(sorted(KEY_TYPES))}")  # fmt: skip
    return SnapshotView(
        name=view.name,
        join_keys=tuple(join_keys),
        relation=source.get_table_query_string(),
        source=source.name,
        as_of_column=source.timestamp_field,
        created_at_column=source.created_timestamp_column or None,
        tombstone_column=source.tags.get(TOMBSTONE_TAG),
        ttl=view.ttl or None,
        features=tuple(_feature(view.name, field, column_of.get(field.name, field.name)) for field in view.features),
        description=view.description,
        owner=view.owner,
        tags=dict(view.tags),
    )


def _feature(view: str, field: "Field", column: str) -> Feature:
    value_type = field.dtype.to_value_type().name
    if value_type not in VALUE_TYPES:
        raise UsageError(
            f"feature {view}:{field.name} has type {value_type}; "
            f"types that can be served are {', '.join(sorted(VALUE_TYPES))}"
        )
    return Feature(field.name, column, value_type, field.description, dict(field.tags))


def _on_demand_view(view: "OnDemandFeatureView") -> OnDemandView:
    if view.source_request_sources:
        raise UsageError(f"on-demand feature view {view.name} takes request data, which cannot be served; "
                         "compute it from feature views alone")  # fmt: skip
    inputs = [
        f"{projection.name}:{field.name}"
        for projection in view.source_feature_view_projections.values()
        for field in projection.features
    ]
    return OnDemandView(
        name=view.name,
        features=tuple(_feature(view.name, field, "") for field in view.features),
        inputs=tuple(sorted(inputs)),
        description=view.description,
        owner=view.owner,
        tags=dict(view.tags),
    )


def _service(service: "FeatureService") -> Service:
    for projection in service.feature_view_projections:
        if projection.join_key_map:
            raise UsageError(f"feature service {service.name} renames the join keys of {projection.name}, "
                             "which cannot be served; give the view an entity of that name")  # fmt: skip
    features = tuple(
        ServiceFeature(name, f"{projection.name_to_use()}__{name}", projection.name, name)
        for projection in service.feature_view_projections
        for name in (field.name for field in projection.features)
    )
    return Service(service.name, features, service.description, service.owner, dict(service.tags))


def _check_references(
    views: tuple[SnapshotView, ...], on_demand: tuple[OnDemandView, ...], services: tuple[Service, ...]
) -> None:
    stored = {view.name for view in views}
    for view in on_demand:
        for reference in view.inputs:
            _check_online(f"on-demand feature view {view.name}", reference.split(":")[0], stored)
    known = stored | {view.name for view in on_demand}
    for service in services:
        for feature in service.features:
            _check_online(f"feature service {service.name}", feature.feature_view, known)


def _check_online(user: str, view: str, known: set[str]) -> None:
    if view not in known:
        raise UsageError(f"{user} uses feature view {view}, which is not online; set online=True there or leave it out")


def _default_service(services: tuple[Service, ...]) -> str:
    defaults = [service.name for service in services if service.tags.get(DEFAULT_TAG) == "true"]
    if len(defaults) != 1:
        found = ", ".join(defaults) or "none"
        raise UsageError(
            f'exactly one feature service must be tagged {DEFAULT_TAG}: "true", '
            f"the one that a call without a name gets; found {found}"
        )
    return defaults[0]
