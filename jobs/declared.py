"""What a repository declares, Feast takes, and nothing here honours: refused by name, each with what to change."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from jobs.definitions import ON_DEMAND, SERVICE, VIEW
from jobs.findings import Findings

if TYPE_CHECKING:  # Feast takes seconds to import
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView
    from feast.data_source import DataSource
    from feast.repo_config import RepoConfig
    from feast.repo_contents import RepoContents

ENTITY, STORE = "entity", "feature store"
_LATEST = ("", "latest")
_FUNCTION_MODES = ("pandas", "python")
_KEY_SERIALIZATION = 3


def check(config: "RepoConfig", contents: "RepoContents", findings: Findings) -> None:
    """Note what of the repository is not honoured."""
    _note(findings, STORE, config.project, _of_store(config))
    _check_entities(contents.entities, findings)
    _check_names([*contents.feature_views, *contents.stream_feature_views, *contents.on_demand_feature_views], findings)
    for view in [*contents.feature_views, *contents.stream_feature_views]:
        _note(findings, VIEW, view.name, _of_view(view))
    for labels in contents.label_views:
        findings.add(VIEW, labels.name, f"label view {labels.name} is not served; labels come by an export's contract")
    for on_demand in contents.on_demand_feature_views:
        _note(findings, ON_DEMAND, on_demand.name, _of_on_demand_view(on_demand))
    for service in contents.feature_services:
        _note(findings, SERVICE, service.name, _of_service(service))
    for permission in contents.permissions:
        findings.add("permission", permission.name, f"permission {permission.name} is asked by nobody here; "
                                                    "leave it out, and give the gateway API keys")  # fmt: skip


def views_of(thing: "FeatureView | OnDemandFeatureView | FeatureService") -> set[str]:
    """The names of the views that an object is made of, and its own if it is one."""
    projections = getattr(thing, "source_feature_view_projections", None) or {}
    listed = getattr(thing, "feature_view_projections", [])
    pending = getattr(thing, "_pending_feature_refs", [])
    names = {projection.name for projection in (*projections.values(), *listed)}
    return {thing.name, *names, *(re.split("[@:]", reference)[0] for reference in pending)}


def _note(findings: Findings, kind: str, name: str, wrongs: Iterable[str]) -> None:
    for wrong in wrongs:
        findings.add(kind, name, f"{kind} {name} {wrong}")


def _of_store(config: "RepoConfig") -> Iterator[str]:
    from feast.infra.online_stores.redis import RedisOnlineStoreConfig

    online = config.online_store
    if not isinstance(online, RedisOnlineStoreConfig):
        yield "has an online store that is not Redis; set online_store.type: redis in feature_store.yaml"
    elif online.key_ttl_seconds is not None:
        yield "lets keys expire by online_store.key_ttl_seconds, which is not honoured; give feature views a ttl"
    if config.entity_key_serialization_version != _KEY_SERIALIZATION:
        yield f"has not entity_key_serialization_version: {_KEY_SERIALIZATION}; set it in feature_store.yaml"
    if config.registry.enable_online_feature_view_versioning:
        yield "has registry.enable_online_feature_view_versioning, which is not honoured; leave it out"


def _check_entities(entities: Iterable["Entity"], findings: Findings) -> None:
    first: dict[str, Entity] = {}
    for entity in entities:
        if first.setdefault(entity.name, entity) != entity:
            findings.add(ENTITY, entity.name, f"entity {entity.name} is defined twice and differently; define it once")


def _check_names(views: "Iterable[FeatureView | OnDemandFeatureView]", findings: Findings) -> None:
    first: dict[str, FeatureView | OnDemandFeatureView] = {}
    for view in views:
        other = first.setdefault(view.name.lower(), view)
        if other is not view:
            how = "twice" if other.name == view.name else f"and {other.name} too, which differs in upper and lower case"
            findings.add(VIEW, view.name, f"feature view {view.name} is defined {how}; rename one")


def _of_any_view(view: "FeatureView | OnDemandFeatureView") -> Iterator[str]:
    if view.version.lower() not in _LATEST:
        yield f"is pinned to version {view.version}, but the latest is served; leave version out"
    if not view.enabled:
        yield "has enabled=False, which is not honoured; set online=False or leave it out"


def _of_view(view: "FeatureView") -> Iterator[str]:
    yield from _of_any_view(view)
    if _computes(view):
        yield "has a function or aggregations, which are not applied; compute in its source's query"
    if view.source_views:
        names = ", ".join(source.name for source in view.source_views)
        yield f"is derived from {names}, which is not computed; compute it in the query of a PostgreSQLSource"
    if view.stream_source is not None:
        kind = type(view.stream_source).__name__
        yield f"has the {kind} {view.stream_source.name}, of which nothing is taken; give it the batch source alone"
    if view.offline:
        yield "has offline=True, but nothing is written back to the offline store; leave it out"
    if any(field.vector_index for field in view.features):
        yield "has a field with vector_index=True, but no vectors are searched here; leave it out"
    if view.batch_source is not None:
        yield from _of_source(view.batch_source)


def _computes(view: "FeatureView") -> bool:
    names = ("udf", "feature_transformation", "aggregations")
    return any(getattr(view, name, None) for name in names)


def _of_source(source: "DataSource") -> Iterator[str]:
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource

    if not isinstance(source, PostgreSQLSource):
        yield f"has the {type(source).__name__} {source.name}, but snapshots are in Postgres; use a PostgreSQLSource"
        return
    options = source._postgres_options
    if options._table and options._query:
        yield f"has source {source.name} with a table and a query, of which one is ignored; give it one of the two"
    if source.connection_ref is not None:
        yield f"has source {source.name} with a connection_ref, which is not honoured; leave it out"
    mapped = list(source.field_mapping.values())
    for name in sorted({name for name in mapped if mapped.count(name) > 1}):
        columns = ", ".join(column for column, feature in source.field_mapping.items() if feature == name)
        yield f"has source {source.name} that maps {columns} to one name, {name}; map one of them"


def _of_on_demand_view(view: "OnDemandFeatureView") -> Iterator[str]:
    yield from _of_any_view(view)
    if view.write_to_online_store:
        yield "has write_to_online_store=True, but nothing fills it; leave it out, and it is computed at reading"
    if view.aggregations:
        yield "has aggregations, which are not applied; compute them in a source's query"
    if view.mode not in _FUNCTION_MODES:
        yield f"has mode {view.mode}; modes that are computed are {' and '.join(_FUNCTION_MODES)}"
    yield from _of_projections(view.source_feature_view_projections.values())
    for projection in view.source_feature_view_projections.values():
        if projection.join_key_map:
            yield f"renames the join keys of {projection.name}, which is not honoured; take the view as it is"


def _of_service(service: "FeatureService") -> Iterator[str]:
    if service.logging_config is not None:
        yield "has a logging_config, but nothing is logged; leave it out"
    if service.precompute_online:
        yield "has precompute_online=True, but nothing is computed ahead; leave it out"
    yield from _of_projections(service.feature_view_projections)
    for reference in service._pending_feature_refs:
        if "@" in reference and not reference.split(":")[0].lower().endswith("@latest"):
            yield f"takes {reference}, but the latest version is served; leave the version out"


def _of_projections(projections: Iterable[Any]) -> Iterator[str]:
    for projection in projections:
        if projection.version_tag is not None:
            yield f"takes {projection.name}@v{projection.version_tag}, but the latest version is served; " \
                  "leave the version out"  # fmt: skip
