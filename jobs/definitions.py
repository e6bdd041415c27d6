"""What the registry holds, resolved for moving data: views with tables and types, services with features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from jobs.current_row import SnapshotSource, TypedColumn
from jobs.errors import UsageError
from jobs.feast_sources import DUMMY_KEY, snapshot_source, source_column
from jobs.findings import Findings
from jobs.online.encoding import KEY_TYPES, VALUE_TYPES
from jobs.servable import problems

if TYPE_CHECKING:  # Feast takes seconds to import; a job that only reads these classes must not wait for it.
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
    from feast.field import Field

DEFAULT_TAG = "default"
VIEW, ON_DEMAND, SERVICE, JOIN_KEY = "feature view", "on-demand feature view", "feature service", "join key"
SERVING = "serving plan"
"""The kinds of objects that findings are about."""


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


def resolve(store: "FeatureStore", findings: Findings | None = None) -> Definitions:
    """The definitions that `store`'s registry holds. Raises RefusedError, which names all that cannot be served.

    With `findings` it is noted there instead, and the definitions are without it.
    """
    found = Findings() if findings is None else findings
    entities = {entity.name: entity.join_key for entity in store.list_entities()}
    every_view = store.list_feature_views()
    views = found.each(VIEW, partial(_view, entities), (view for view in every_view if view.online))
    found.each(VIEW, partial(_check_entities, entities), (view for view in every_view if not view.online))
    on_demand = found.each(ON_DEMAND, _on_demand_view, store.list_on_demand_feature_views())
    listed = store.list_feature_services()
    services = found.each(SERVICE, _service, listed)
    _check_join_keys(views, found)
    _check_references(views, on_demand, services, found)
    _check_servable(views, on_demand, services, found)
    default = ""
    with found.of(SERVICE, DEFAULT_TAG):
        default = _default_service(listed)
    if findings is None:
        found.raise_any()
    return Definitions(store.project, views, on_demand, services, default)


def _view(entities: Mapping[str, str], view: "FeatureView") -> SnapshotView:
    found = Findings()
    with found.of(VIEW, view.name):
        _check_entities(entities, view)
    with found.of(VIEW, view.name):
        resolved = snapshot_view(view)
    found.raise_any()
    return resolved


def _check_entities(join_key_of: Mapping[str, str], view: "FeatureView") -> None:
    # Feast takes a view whose entity it does not know for one without: it would serve one row to everybody.
    unknown = [name for name in view.entities if name not in join_key_of]
    if unknown:
        raise UsageError(
            f"feature view {view.name} has entity {unknown[0]}, which Feast has not collected; "
            "put it at the top of a module that is neither an __init__.py nor in .feastignore"
        )
    declared = sorted(join_key_of[name] for name in view.entities)
    columns = sorted(field.name for field in _key_columns(view))
    if declared != columns:
        raise UsageError(
            f"feature view {view.name} has entities with join keys {', '.join(declared) or 'none'}, of which Feast "
            f"finds {', '.join(columns) or 'none'}; put a Field of each join key's name and type into its schema"
        )


def _key_columns(view: "FeatureView") -> list["Field"]:
    columns = [column for column in view.entity_columns if column.name != DUMMY_KEY]
    return sorted(columns, key=attrgetter("name"))


def snapshot_view(view: "FeatureView") -> SnapshotView:
    """A feature view of Feast's, resolved. Raises UsageError for one that cannot be served."""
    snapshots, source = snapshot_source(view), view.batch_source
    assert source is not None
    found = Findings()
    join_keys, features = [], []
    for field in _key_columns(view):
        with found.of(VIEW, view.name):
            join_keys.append(_join_key(view.name, field, source_column(source, field.name)))
    for field in view.features:
        with found.of(VIEW, view.name):
            features.append(_feature(view.name, field, source_column(source, field.name)))
    found.raise_any()
    return SnapshotView(
        name=view.name,
        join_keys=tuple(join_keys),
        relation=snapshots.relation,
        source=source.name,
        as_of_column=snapshots.as_of_column,
        created_at_column=snapshots.created_at_column,
        tombstone_column=snapshots.tombstone_column,
        ttl=view.ttl or None,
        features=tuple(features),
        description=view.description,
        owner=view.owner,
        tags=dict(view.tags),
    )


def _join_key(view: str, field: "Field", column: str) -> JoinKey:
    value_type = field.dtype.to_value_type().name
    if value_type not in KEY_TYPES:
        raise UsageError(f"join key {field.name} of feature view {view} has type {value_type}; "
                         f"Feast can look up {', '.join(sorted(KEY_TYPES))}")  # fmt: skip
    return JoinKey(field.name, column, value_type)


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


def _check_join_keys(views: Sequence[SnapshotView], findings: Findings) -> None:
    # The gateway takes a key by its name, of one type: by another's it would look up other bytes than were written.
    views_of: dict[str, dict[str, list[str]]] = {}
    for view in views:
        for key in view.join_keys:
            views_of.setdefault(key.name, {}).setdefault(key.type, []).append(view.name)
    for name, types in views_of.items():
        if len(types) > 1:
            each = " and ".join(f"{value_type} in {', '.join(owners)}" for value_type, owners in types.items())
            findings.add(JOIN_KEY, name, f"join key {name} has types that differ by feature view: {each}; give it one")


def _check_references(
    views: Sequence[SnapshotView],
    on_demand: Sequence[OnDemandView],
    services: Sequence[Service],
    findings: Findings,
) -> None:
    # What was refused is named already: it is not missing.
    stored = {view.name for view in views} | findings.names(VIEW)
    for view in on_demand:
        for name in sorted({reference.split(":")[0] for reference in view.inputs}):
            with findings.of(ON_DEMAND, view.name):
                _check_online(f"on-demand feature view {view.name}", name, stored)
    known = stored | {view.name for view in on_demand} | findings.names(ON_DEMAND)
    for service in services:
        for name in sorted({feature.feature_view for feature in service.features}):
            with findings.of(SERVICE, service.name):
                _check_online(f"feature service {service.name}", name, known)


def _check_servable(
    views: Sequence[SnapshotView],
    on_demand: Sequence[OnDemandView],
    services: Sequence[Service],
    findings: Findings,
) -> None:
    # Of what refers to nothing that was refused; the rest is looked at once that is mended.
    mixed = findings.names(JOIN_KEY)
    stored = {view.name for view in views if not mixed & {key.name for key in view.join_keys}}
    computed = [view for view in on_demand if {name.split(":")[0] for name in view.inputs} <= stored]
    known = stored | {view.name for view in computed}
    whole = [service for service in services if {feature.feature_view for feature in service.features} <= known]
    for problem in problems([view for view in views if view.name in stored], computed, whole):
        findings.add(SERVING, "plan", problem)


def _check_online(user: str, view: str, known: set[str]) -> None:
    if view not in known:
        raise UsageError(
            f"{user} uses feature view {view}, which is not online; set online=True there or leave it out, "
            "and put it at the top of a module"
        )


def _default_service(services: Sequence["FeatureService"]) -> str:
    defaults = sorted(service.name for service in services if service.tags.get(DEFAULT_TAG) == "true")
    if len(defaults) != 1:
        found = ", ".join(defaults) or "none"
        raise UsageError(
            f'exactly one feature service must be tagged {DEFAULT_TAG}: "true", '
            f"the one that a call without a name gets; found {found}"
        )
    return defaults[0]
