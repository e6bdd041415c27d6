"""What the registry holds, resolved for moving data: views with tables and types, services with features."""

from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

from jobs.current_row import SnapshotSource, TypedColumn, age_limit
from jobs.errors import UsageError
from jobs.feast_sources import DUMMY_KEY, snapshot_source
from jobs.online.encoding import KEY_TYPES, VALUE_TYPES

if TYPE_CHECKING:  # Feast takes seconds to import; a job that only reads these classes must not wait for it.
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
    from feast.field import Field

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

    @property
    def snapshots(self) -> SnapshotSource:
        """Its source, as the rule of the current row sees it."""
        return SnapshotSource(
            self.relation,
            tuple(TypedColumn(key.column, key.type) for key in self.join_keys),
            tuple(TypedColumn(feature.column, feature.type) for feature in self.features),
            self.as_of_column,
            self.created_at_column,
            self.tombstone_column,
        )


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
    return Definitions(store.project, views, on_demand, services, _default_service(services))


def snapshot_view(view: "FeatureView") -> SnapshotView:
    """A feature view of Feast's, resolved. Raises UsageError for one that cannot be served."""
    snapshots, source = snapshot_source(view), view.batch_source
    assert source is not None
    named = [column.name for column in view.entity_columns if column.name != DUMMY_KEY]
    join_keys = [
        JoinKey(name, column.name, column.type)
        for name, column in sorted(zip(named, snapshots.keys, strict=True), key=itemgetter(0))
    ]
    for key in join_keys:
        if key.type not in KEY_TYPES:
            raise UsageError(f"join key {key.name} of feature view {view.name} has type {key.type}; "
                             f"Feast can look up {', '.join(sorted(KEY_TYPES))}")  # fmt: skip
    return SnapshotView(
        name=view.name,
        join_keys=tuple(join_keys),
        relation=snapshots.relation,
        source=source.name,
        as_of_column=snapshots.as_of_column,
        created_at_column=snapshots.created_at_column,
        tombstone_column=snapshots.tombstone_column,
        ttl=age_limit(view.ttl),
        features=tuple(
            _feature(view.name, field, column.name)
            for field, column in zip(view.features, snapshots.features, strict=True)
        ),
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
        _check_names(service)


def _check_online(user: str, view: str, known: set[str]) -> None:
    if view not in known:
        raise UsageError(f"{user} uses feature view {view}, which is not online; set online=True there or leave it out")


def _check_names(service: Service) -> None:
    if not service.features:
        raise UsageError(f"feature service {service.name} has no features; give it one or leave it out")
    # An answer holds one value per name: of two features with one name, one would be lost without a word.
    origin: dict[str, str] = {}
    for feature in service.features:
        first = origin.setdefault(feature.name, feature.feature_view)
        if first != feature.feature_view:
            raise UsageError(f"feature service {service.name} has two features named {feature.name}, of {first} "
                             f"and of {feature.feature_view}; rename one")  # fmt: skip


def _default_service(services: tuple[Service, ...]) -> str:
    defaults = [service.name for service in services if service.tags.get(DEFAULT_TAG) == "true"]
    if len(defaults) != 1:
        found = ", ".join(defaults) or "none"
        raise UsageError(
            f'exactly one feature service must be tagged {DEFAULT_TAG}: "true", '
            f"the one that a call without a name gets; found {found}"
        )
    return defaults[0]
